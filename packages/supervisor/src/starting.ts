import { abortError, asClarityError, ClarityError, type Interface } from "@clarity-runtime/contracts"
import { deadline, raced, type Deadline } from "./deadline.ts"
import { createInstance, sharedKey, type Instance, type InstanceKey } from "./instances.ts"
import { openBackend } from "./opening.ts"
import type { ServiceState } from "./state.ts"
import { tend, type Owner } from "./tending.ts"

/** What becomes of starts and of what they opened. */
export interface Starts {
  started(instance: Instance, face: Interface, tookMs: number): void
  failed(error: ClarityError): void
  ownerOf(instance: Instance): Owner
  /** A call found the instance useless. */
  broken(instance: Instance): void
}

/** Bounds one start, or one question for the interface. */
export function startLimit(state: ServiceState, parent: AbortSignal): Deadline {
  const { clock, bounds } = state.parts
  return deadline(clock, bounds.startMs, parent, () => {
    const local = state.view.manifest.spec.origin.type === "local_stdio"
    return new ClarityError("upstream_timeout", `it did not come up within ${bounds.startMs / 1000} s`, {
      data: local ? { hint: "run the command by hand to see what it waits for; its log has all it said" } : {},
    })
  })
}

/**
 * Starts the service's own instance: opens it and has it answer once. Until it is over `state.attempt` is set; aborting
 * that ends the start without a verdict.
 */
export async function startOwn(state: ServiceState, starts: Starts): Promise<void> {
  const { clock, gate } = state.parts
  const attempt = { abort: new AbortController(), ticket: gate.enter(state.waiting > 0 || state.kicked) }
  state.attempt = attempt
  state.move("STARTING", state.failure === undefined ? { health: "UNKNOWN" } : state.condition)
  const { signal } = attempt.abort
  let instance: Instance | undefined
  try {
    await raced(attempt.ticket.ready, signal)
    const begun = clock.monotonic()
    const limit = startLimit(state, signal)
    try {
      instance = await openInstance(state, sharedKey, limit, starts)
      const face = await raced(instance.backend.describe(limit.signal), limit.signal)
      if (signal.aborted || !instance.usable) throw abortError(limit.signal)
      starts.started(instance, face, clock.monotonic() - begun)
    } finally {
      limit.end()
    }
  } catch (thrown) {
    if (instance !== undefined) state.drain(instance, 0)
    if (!signal.aborted) starts.failed(asClarityError(thrown, "its start failed; the daemon's log has the details"))
  } finally {
    attempt.ticket.leave()
    state.attempt = undefined
    state.changed()
  }
}

/** Opens an instance and tends it. Its death ends the limit, so that nobody waits for an answer of the dead. */
export async function openInstance(
  state: ServiceState,
  key: InstanceKey,
  limit: Deadline,
  starts: Pick<Starts, "ownerOf" | "broken">,
): Promise<Instance> {
  const { clock, random, bounds, factories } = state.parts
  const { id, namespace, log, record } = state
  const definition = { id, namespace, manifest: record.manifest }
  const services = state.servicesFor(key.isolationKey)
  const backend = await openBackend(factories, definition, services, limit.signal, bounds.disposeMs)
  const { disposeMs } = bounds
  const instance = createInstance(backend, key, { clock, log, disposeMs, broken: (found) => starts.broken(found) })
  const owner = starts.ownerOf(instance)
  tend(
    instance,
    key === sharedKey,
    { clock, random, bounds, log },
    {
      ...owner,
      exit(reason) {
        limit.abort(new ClarityError("unavailable", `it ended: ${reason.slice(0, 300)}`))
        owner.exit(reason)
      },
    },
  )
  return instance
}
