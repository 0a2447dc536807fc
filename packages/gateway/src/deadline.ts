import { abortError, ClarityError, type ServiceView } from "@clarity-runtime/contracts"
import type { Alarms } from "./alarms.ts"
import type { Call } from "./call.ts"

export interface Deadline {
  /** Aborted by the caller's signal, by the deadline, or when nobody reads on. */
  readonly signal: AbortSignal
  /** Nobody reads on: whatever still runs for this call is to stop. */
  abandon(): void
  clear(): void
}

/** A signal that is aborted as the caller's is, and after `totalMs` with `upstream_timeout` as its reason. */
export function deadline(alarms: Alarms, call: Call, totalMs: number, service: ServiceView): Deadline {
  const controller = call.controller ?? new AbortController()
  const follow = () => controller.abort(abortError(call.signal))
  const follows = controller.signal !== call.signal
  if (follows && call.signal.aborted) follow()
  else if (follows) call.signal.addEventListener("abort", follow, { once: true })
  const alarm = alarms.set(totalMs, () => {
    const seconds = Math.round(totalMs / 100) / 10
    const data = { service: service.namespace, reason: "total deadline" }
    controller.abort(
      new ClarityError("upstream_timeout", `${service.namespace} did not finish within ${seconds} s`, { data }),
    )
  })
  return {
    signal: controller.signal,
    abandon: () => controller.abort(new ClarityError("cancelled", "the call is over")),
    clear() {
      alarms.clear(alarm)
      if (follows) call.signal.removeEventListener("abort", follow)
    },
  }
}
