import type { Clock } from "@clarity-runtime/contracts"

/** A place in the row of starts. */
export interface StartTicket {
  /** Resolves when the start may begin. */
  readonly ready: Promise<void>
  /** A call waits for this one: it begins now. */
  hurry(): void
  /** The start is over or given up; must be called. */
  leave(): void
}

export interface StartGate {
  enter(urgent: boolean): StartTicket
}

/**
 * Lets `width` starts begin at a time, so that hundreds of services do not start in one breath. A start that takes
 * longer than `holdMs` gives up its place while it goes on: slow ones hold up nobody.
 */
export function createStartGate(options: { clock: Clock; width: number; holdMs: number }): StartGate {
  const row = new Set<() => void>()
  let taken = 0

  function next(): void {
    for (const begin of row) {
      if (taken >= options.width) return
      begin()
    }
  }

  return {
    enter(urgent) {
      const ready = Promise.withResolvers<void>()
      const over = new AbortController()
      let holds = false
      const free = () => {
        if (!holds) return
        holds = false
        taken -= 1
        next()
      }
      const begin = () => {
        row.delete(begin)
        holds = true
        taken += 1
        ready.resolve()
        void options.clock.sleep(options.holdMs, over.signal).then(free)
      }
      if (urgent || taken < options.width) begin()
      else row.add(begin)
      return {
        ready: ready.promise,
        hurry() {
          if (row.has(begin)) begin()
        },
        leave() {
          row.delete(begin)
          ready.resolve()
          over.abort()
          free()
        },
      }
    },
  }
}
