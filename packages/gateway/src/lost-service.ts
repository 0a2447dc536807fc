import { ClarityError } from "@clarity-runtime/contracts"
import type { Route } from "./route.ts"

/** Reasons of `unavailable` that tell of a service that is there, but takes no call now. */
const busy = /^(?:http_|waiting |input queue)/

/** True when the call failed because its own backend is gone, so that another one is wanted. */
export function isLost(thrown: unknown, { service: { id, namespace } }: Route): thrown is ClarityError {
  if (!(thrown instanceof ClarityError) || thrown.rpc !== undefined) return false
  const { reason, retryAfterMs, service = namespace } = thrown.data
  if (service !== namespace && service !== id) return false
  if (thrown.code === "outcome_unknown") return true
  return thrown.code === "unavailable" && retryAfterMs === undefined && !busy.test(reason ?? "")
}

/** True when making the lost call once more does no harm: nothing was sent, or doing it twice is as good as once. */
export function mayRepeat({ request, tool }: Route, error: ClarityError): boolean {
  if (error.code !== "outcome_unknown" || request.method !== "tools/call") return true
  const hints = tool?.["annotations"] as { readOnlyHint?: unknown; idempotentHint?: unknown } | undefined
  return hints?.readOnlyHint === true || hints?.idempotentHint === true
}
