/** Time, handed in so that tests need not wait. */
export interface Clock {
  /** Wall clock, epoch milliseconds: for display only. */
  now(): number
  /** Never goes back; milliseconds from an arbitrary start: for every limit and interval. */
  monotonic(): number
  /** Resolves after `ms`, or at once when the signal aborts (it never rejects). Does not keep the process alive. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener("abort", done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      timer.unref?.()
      signal?.addEventListener("abort", done, { once: true })
    }),
}
