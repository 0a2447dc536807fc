import { abortError, ClarityError, type ServiceView } from "@clarity-runtime/contracts"

export interface Deadline {
  /** Aborted by the caller's signal, by the deadline, or when nobody reads on. */
  readonly signal: AbortSignal
  /** Nobody reads on: whatever still runs for this call is to stop. */
  abandon(): void
  clear(): void
}

/** A signal that follows the caller's and strikes after `totalMs` with `upstream_timeout` as its reason. */
export function deadline(caller: AbortSignal, totalMs: number, service: ServiceView): Deadline {
  const controller = new AbortController()
  const follow = () => controller.abort(abortError(caller))
  if (caller.aborted) follow()
  else caller.addEventListener("abort", follow, { once: true })
  const timer = setTimeout(() => {
    const seconds = Math.round(totalMs / 100) / 10
    controller.abort(
      new ClarityError("upstream_timeout", `${service.namespace} did not finish within ${seconds} s`, {
        data: { service: service.namespace, reason: "total deadline" },
      }),
    )
  }, totalMs)
  timer.unref()
  return {
    signal: controller.signal,
    abandon: () => controller.abort(new ClarityError("cancelled", "the call is over")),
    clear() {
      clearTimeout(timer)
      caller.removeEventListener("abort", follow)
    },
  }
}
