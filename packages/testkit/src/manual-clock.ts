import type { Clock } from "@clarity-runtime/contracts"

/** A clock that stands still until told. */
export interface ManualClock extends Clock {
  /**
   * Moves time on, waking each sleeper at its own moment and in order; sleepers begun meanwhile are woken too when
   * they fall due. Resolves when everything woken has had its turn.
   */
  advance(ms: number): Promise<void>
  /** Sets the wall clock alone, as an operator or NTP would; intervals do not notice. */
  setWallClock(epochMs: number): void
  readonly sleepers: number
  /** Resolves once at least that many sleep: the moment to advance. */
  sleeping(count?: number): Promise<void>
}

/** Starts at `now` (epoch milliseconds, default 2026-01-01T00:00:00Z) with a monotonic zero. */
export function manualClock(now = Date.UTC(2026, 0, 1)): ManualClock {
  interface Sleeper {
    readonly due: number
    readonly wake: () => void
  }
  const sleepers = new Set<Sleeper>()
  const watchers = new Set<() => void>()
  let wall = now
  let elapsed = 0

  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))
  const moveTo = (moment: number) => {
    wall += moment - elapsed
    elapsed = moment
  }

  return {
    now: () => wall,
    monotonic: () => elapsed,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve()
        const wake = () => {
          sleepers.delete(sleeper)
          signal?.removeEventListener("abort", wake)
          resolve()
        }
        const sleeper: Sleeper = { due: elapsed + Math.max(0, ms), wake }
        sleepers.add(sleeper)
        signal?.addEventListener("abort", wake, { once: true })
        for (const watcher of watchers) watcher()
      }),
    async advance(ms) {
      const end = elapsed + ms
      await settle()
      for (;;) {
        const next = [...sleepers].sort((a, b) => a.due - b.due).find(({ due }) => due <= end)
        if (next === undefined) break
        moveTo(Math.max(elapsed, next.due))
        next.wake()
        await settle()
      }
      moveTo(end)
      await settle()
    },
    setWallClock(epochMs) {
      wall = epochMs
    },
    get sleepers() {
      return sleepers.size
    },
    sleeping: (count = 1) =>
      new Promise((resolve) => {
        const check = () => {
          if (sleepers.size < count) return
          watchers.delete(check)
          resolve()
        }
        watchers.add(check)
        check()
      }),
  }
}
