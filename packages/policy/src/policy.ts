import {
  abortError,
  ClarityError,
  hasScope,
  systemClock,
  unknownTarget,
  type Admission,
  type AdmissionInput,
  type Clock,
  type Policy,
} from "@clarity-runtime/contracts"
import { rulesFrom, type PolicyLimits } from "./limits.ts"
import { Places, type PolicyLoad } from "./places.ts"

/** A policy whose bounds can be watched at work. */
export interface BoundedPolicy extends Policy {
  load(): PolicyLoad
}

export interface StandardPolicyOptions extends PolicyLimits {
  readonly clock?: Clock
}

/**
 * What the daemon runs with: a tool call needs the scope `call`, everything else `read` or `call`; tools outside a
 * service's `allowedTools` are neither seen nor called; payloads, depth and calls in flight are bounded, and calls
 * over a service's concurrency wait in a bounded queue in which principals take turns.
 * Throws ClarityError (`config_error`) for limits out of range.
 */
export function standardPolicy(options: StandardPolicyOptions = {}): BoundedPolicy {
  const { clock = systemClock, ...limits } = options
  return bounded(limits, clock, scopeRefusal)
}

/** Everybody may call everything the services themselves offer; still bounded like `standardPolicy`. */
export function allowAll(options: { readonly limits?: PolicyLimits; readonly clock?: Clock } = {}): BoundedPolicy {
  return bounded(options.limits ?? {}, options.clock ?? systemClock, () => undefined)
}

function bounded(
  limits: PolicyLimits,
  clock: Clock,
  refusal: (input: AdmissionInput) => ClarityError | undefined,
): BoundedPolicy {
  const rules = rulesFrom(limits)
  const places = new Places(rules.inFlight, clock)
  const { maxDepth } = rules.inFlight
  return {
    admit(input, signal) {
      const { service, target, bytes, depth } = input
      const own = rules.of(service.manifest)
      if (input.method === "tools/call" && own.allowedTools?.has(target ?? "") === false)
        return deny(unknownTarget("tool", target ?? ""))
      const refused = refusal(input)
      if (refused !== undefined) return deny(refused)
      if (own.refused !== undefined) return deny(denied(service.namespace, "host_not_allowed", own.refused))
      if (depth > maxDepth)
        return deny(denied(service.namespace, "depth", `calls made from calls go too deep (${depth} > ${maxDepth})`))
      if (bytes > own.maxPayloadBytes) {
        const text = `request to ${service.namespace} too large (${bytes} > ${own.maxPayloadBytes} bytes)`
        return deny(new ClarityError("payload_too_large", text, { data: { service: service.namespace } }))
      }
      if (signal.aborted) return deny(abortError(signal))
      return places.take(input.principal.id, service, own, signal)
    },
    visible(_principal, service, kind, name) {
      return kind !== "tool" || rules.of(service.manifest).allowedTools?.has(name) !== false
    },
    load: () => places.load(),
  }
}

function scopeRefusal({ principal, method, service }: AdmissionInput): ClarityError | undefined {
  if (hasScope(principal, "call") || (method !== "tools/call" && hasScope(principal, "read"))) return undefined
  const wanted = method === "tools/call" ? "call" : "read"
  return denied(service.namespace, "scope", `${principal.id} lacks the scope '${wanted}' for ${method}`)
}

function denied(service: string, reason: string, text: string): ClarityError {
  return new ClarityError("policy_denied", text, { data: { service, reason } })
}

function deny(error: ClarityError): Admission {
  return { kind: "deny", error }
}
