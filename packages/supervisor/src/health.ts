import {
  asClarityError,
  ClarityError,
  type Clock,
  type Health,
  type Interface,
  type OriginType,
  type ServiceView,
} from "@clarity-runtime/contracts"
import { deadline, raced } from "./deadline.ts"
import type { Instance } from "./instances.ts"
import type { Bounds } from "./options.ts"

/** How a service is, in one word and in words for an operator. */
export interface Condition {
  readonly health: Health
  readonly reason?: string
  readonly hint?: string
}

/** What an error of an upstream says about its health. A local program that cannot be had is broken, not out of reach. */
export function conditionOf(error: ClarityError, origin: OriginType): Condition {
  const health = healthOf(error, origin)
  const given = error.data["hint"]
  const hint = typeof given === "string" ? given : hints[health]
  return { health, reason: error.message.slice(0, 500), ...(hint === undefined ? {} : { hint: hint.slice(0, 500) }) }
}

/** The condition of a service that answers. */
export function wellCondition(face: Interface): Condition {
  const rejected = face.rejected ?? []
  const [first] = rejected
  if (first === undefined) return { health: "HEALTHY" }
  const { item, reason } = first
  return {
    health: "DEGRADED",
    reason: `${rejected.length} of its items are left out, first ${item.slice(0, 100)}: ${reason.slice(0, 200)}`,
    hint: "they break the protocol and can only be mended in the service",
  }
}

export function sameCondition(a: Condition, b: Condition): boolean {
  return a.health === b.health && a.reason === b.reason && a.hint === b.hint
}

function healthOf(error: ClarityError, origin: OriginType): Health {
  if (error.code === "upstream_timeout") return "TIMEOUT"
  if (error.code === "upstream_unauthorized") return "UNAUTHORIZED"
  if (error.code === "unavailable" && origin === "remote_mcp") return "UNREACHABLE"
  return "DEGRADED"
}

const hints: Partial<Record<Health, string>> = {
  TIMEOUT: "see whether the service hangs or is overloaded; its log may tell",
  UNAUTHORIZED: "check the credential its manifest refers to (spec.origin.authRef)",
  UNREACHABLE: "check its endpoint and the network; it is tried again by itself",
  DEGRADED: "its log has the details",
}

/** An error for a call that cannot be served now: names the service, its state and why, and whether waiting helps. */
export function unavailable(view: ServiceView, retry: { retryable: boolean; retryAfterMs?: number }): ClarityError {
  const reason = view.reason ?? "it is not running"
  return new ClarityError("unavailable", `service ${view.namespace} is ${view.lifecycle}: ${reason}`, {
    data: {
      service: view.namespace,
      state: view.lifecycle,
      reason,
      retryable: retry.retryable,
      ...(retry.retryAfterMs === undefined ? {} : { retryAfterMs: Math.max(0, Math.round(retry.retryAfterMs)) }),
      ...(view.hint === undefined ? {} : { hint: view.hint }),
    },
  })
}

/**
 * Asks an instance for a sign of life now and then, until it is retired. Not while calls give signs themselves, unless
 * the last probe failed. Backends without a probe are never asked: being open is their sign.
 */
export async function probeNowAndThen(
  instance: Instance,
  parts: { clock: Clock; random: () => number; bounds: Pick<Bounds, "probeMs" | "probeTimeoutMs"> },
  heard: { well(): void; unwell(error: ClarityError, inARow: number): void },
): Promise<void> {
  const { clock, random, bounds } = parts
  const { backend, over } = instance
  if (backend.probe === undefined) return
  let failures = 0
  while (!over.aborted) {
    await clock.sleep(bounds.probeMs * (0.75 + 0.5 * random()), over)
    if (over.aborted) return
    if (failures === 0 && clock.monotonic() - instance.aliveAt < bounds.probeMs) continue
    const limit = deadline(clock, bounds.probeTimeoutMs, over, () => {
      return new ClarityError("upstream_timeout", `no sign of life within ${bounds.probeTimeoutMs / 1000} s`)
    })
    try {
      await raced(backend.probe(limit.signal), limit.signal)
      failures = 0
      instance.alive()
      heard.well()
    } catch (thrown) {
      if (over.aborted) return
      failures += 1
      heard.unwell(asClarityError(thrown, "its probe failed"), failures)
    } finally {
      limit.end()
    }
  }
}
