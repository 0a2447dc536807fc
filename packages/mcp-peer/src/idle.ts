import type { Clock } from "@clarity-runtime/contracts"
import type { Exchange } from "./exchange.ts"

/** Ends what has been silent for too long. One timer for all, so that a call costs no timer of its own. */
export interface IdleWatch {
  begin(exchange: Exchange): void
  close(): void
}

export function createIdleWatch(
  clock: Clock,
  inFlight: { values(): Iterable<Exchange> },
  expire: (exchange: Exchange) => void,
): IdleWatch {
  let wakeAt = Infinity
  let sleeper = new AbortController()
  let running = false
  const life = new AbortController()

  async function run(): Promise<void> {
    running = true
    while (!life.signal.aborted) {
      const now = clock.monotonic()
      wakeAt = Infinity
      for (const exchange of inFlight.values()) {
        const limit = exchange.options.limits?.idleMs
        if (limit === undefined) continue
        if (exchange.waiting) exchange.lastSign = now
        const due = exchange.lastSign + limit
        if (due <= now) expire(exchange)
        else wakeAt = Math.min(wakeAt, due)
      }
      if (wakeAt === Infinity) break
      sleeper = new AbortController()
      await clock.sleep(Math.max(1, wakeAt - now), sleeper.signal)
    }
    running = false
  }

  return {
    begin(exchange) {
      exchange.lastSign = clock.monotonic()
      const limit = exchange.options.limits?.idleMs
      if (limit === undefined || life.signal.aborted) return
      if (!running) void run()
      else if (exchange.lastSign + limit < wakeAt) sleeper.abort()
    },
    close() {
      life.abort()
      sleeper.abort()
    },
  }
}
