import { abortError, type ClarityError, type Clock } from "@clarity-runtime/contracts"

/** A signal with an end: aborts with the given error after the time, or with its parent's reason. */
export interface Deadline {
  readonly signal: AbortSignal
  abort(reason: ClarityError): void
  /** Must be called when the work is over; takes the timer and the listener back. */
  end(): void
}

export function deadline(clock: Clock, ms: number, parent: AbortSignal, error: () => ClarityError): Deadline {
  const limit = new AbortController()
  const over = new AbortController()
  const follow = () => limit.abort(parent.reason)
  if (parent.aborted) follow()
  else parent.addEventListener("abort", follow, { once: true })
  void clock.sleep(ms, over.signal).then(() => over.signal.aborted || limit.abort(error()))
  return {
    signal: limit.signal,
    abort: (reason) => limit.abort(reason),
    end() {
      over.abort()
      parent.removeEventListener("abort", follow)
    },
  }
}

/** The promise's outcome, or the signal's error when that comes first; the promise is left to end by itself. */
export function raced<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(abortError(signal))
    const done = () => signal.removeEventListener("abort", abort)
    if (signal.aborted) abort()
    else signal.addEventListener("abort", abort, { once: true })
    promise.then(resolve, reject).finally(done)
  })
}
