import { monitorEventLoopDelay } from "node:perf_hooks"
import { getHeapStatistics } from "node:v8"

export interface OverloadLimits {
  /** Lateness of the event loop, milliseconds, that counts as overload when it lasts. */
  readonly eventLoopDelayMs: number
  /** Share of the heap's limit in use that counts as overload. */
  readonly heapShare: number
  /** With fewer answers than this under way there is nothing to shed. */
  readonly minInFlight: number
}

export const defaultOverloadLimits: OverloadLimits = { eventLoopDelayMs: 200, heapShare: 0.85, minInFlight: 64 }

export interface Overload extends Disposable {
  /** Why new calls are turned away at the moment; undefined: they are not. */
  readonly reason: "event_loop" | "heap" | undefined
}

/** What one look at the process found. */
export interface Load {
  readonly eventLoopDelayMs: number
  readonly heapShare: number
  readonly inFlight: number
}

const sampleMs = 250
/** Looks in a row that must agree: one long collection of garbage is no overload. */
const lastingLooks = 2

/**
 * Watches whether the process keeps up. While it does not, calls are turned away before anything is done for them, so
 * that those that were let in are finished in good time (security bounds, docs/security.md). `look` is for tests.
 */
export function watchOverload(
  limits: OverloadLimits,
  inFlight: () => number,
  look?: (judge: (load: Load) => void) => Disposable,
): Overload {
  let late = 0
  let reason: Overload["reason"]

  function judge(load: Load): void {
    late = load.eventLoopDelayMs > limits.eventLoopDelayMs ? late + 1 : 0
    if (load.inFlight < limits.minInFlight) reason = undefined
    else if (load.heapShare > limits.heapShare) reason = "heap"
    else if (late >= lastingLooks) reason = "event_loop"
    else if (late === 0) reason = undefined
  }

  const looking = (look ?? ((given) => lookRegularly(inFlight, given)))(judge)
  return {
    get reason() {
      return reason
    },
    [Symbol.dispose]: () => looking[Symbol.dispose](),
  }
}

function lookRegularly(inFlight: () => number, judge: (load: Load) => void): Disposable {
  const delay = monitorEventLoopDelay({ resolution: 20 })
  delay.enable()
  const timer = setInterval(() => {
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    judge({ eventLoopDelayMs: delay.percentile(99) / 1e6, heapShare: used / limit, inFlight: inFlight() })
    delay.reset()
  }, sampleMs)
  timer.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      delay.disable()
    },
  }
}
