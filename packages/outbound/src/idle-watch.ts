import type { Clock } from "@clarity-runtime/contracts"

/** Something that must show a sign of life now and then. */
export interface Watched {
  /** Monotonic milliseconds. */
  lastSign: number
  readonly idleMs: number
  /** Silence that is nobody's fault: the reader is slow. */
  readonly paused: boolean
  expire(): void
}

/** Ends what is silent for too long, with one timer for all. */
export interface IdleWatch {
  add(watched: Watched): void
  delete(watched: Watched): void
  close(): void
}

export function createIdleWatch(clock: Clock): IdleWatch {
  const all = new Set<Watched>()
  let sleeper = new AbortController()
  let wakeAt = Infinity
  let running = false

  async function run(): Promise<void> {
    running = true
    while (all.size > 0) {
      const now = clock.monotonic()
      wakeAt = Infinity
      for (const watched of all) {
        if (watched.paused) watched.lastSign = now
        const due = watched.lastSign + watched.idleMs
        if (due > now) wakeAt = Math.min(wakeAt, due)
        else {
          all.delete(watched)
          watched.expire()
        }
      }
      if (wakeAt === Infinity) continue
      sleeper = new AbortController()
      await clock.sleep(Math.max(1, wakeAt - now), sleeper.signal)
    }
    running = false
  }

  return {
    add(watched) {
      all.add(watched)
      if (!running) void run()
      else if (watched.lastSign + watched.idleMs < wakeAt) sleeper.abort()
    },
    delete(watched) {
      all.delete(watched)
    },
    close() {
      all.clear()
      sleeper.abort()
    },
  }
}
