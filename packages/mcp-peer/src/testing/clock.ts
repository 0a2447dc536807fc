import type { Clock } from "@clarity-runtime/contracts"

/** Time that passes when told to. */
export interface HandClock extends Clock {
  /** Moves on, waking sleepers in the order of their hour; lets what they do settle. */
  pass(ms: number): Promise<void>
  readonly sleepers: number
}

export function handClock(): HandClock {
  let now = 1_000_000
  const sleepers = new Set<{ readonly at: number; readonly wake: () => void }>()
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve()
        const sleeper = { at: now + ms, wake }
        function wake(): void {
          sleepers.delete(sleeper)
          signal?.removeEventListener("abort", wake)
          resolve()
        }
        sleepers.add(sleeper)
        signal?.addEventListener("abort", wake, { once: true })
      }),
    async pass(ms) {
      const until = now + ms
      for (;;) {
        await settle()
        const next = [...sleepers].sort((a, b) => a.at - b.at)[0]
        if (!next || next.at > until) break
        now = Math.max(now, next.at)
        next.wake()
      }
      now = until
      await settle()
    },
    get sleepers() {
      return sleepers.size
    },
  }
}
