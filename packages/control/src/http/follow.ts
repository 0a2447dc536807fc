import type { ControlContext } from "../context.ts"
import { eventOf } from "../operations/history.ts"
import type { StreamEvent } from "./stream.ts"

/**
 * The newest `limit` events, oldest of them first, or all after the event a client saw last; then everything as it
 * happens. No event is given twice, none of the time between history and now is lost.
 */
export async function* followEvents(
  { timeline }: ControlContext,
  { limit, lastSeen }: { limit: number; lastSeen?: number },
  signal: AbortSignal,
): AsyncGenerator<StreamEvent, void, void> {
  const live = timeline.follow(signal)[Symbol.asyncIterator]()
  // Asked for before history is read: from here on nothing is missed.
  let next = live.next()
  const past = timeline
    .events({ limit: lastSeen === undefined ? limit : 2000 })
    .filter(({ seq }) => seq > (lastSeen ?? -1))
  let seen = lastSeen ?? -1
  for (const event of past.toReversed()) {
    seen = event.seq
    yield { data: eventOf(event), id: event.seq }
  }
  for (;;) {
    const step = await next
    if (step.done === true) return
    next = live.next()
    if (step.value.seq > seen) yield { data: eventOf(step.value), id: step.value.seq }
  }
}

/** The last lines of a service's log, oldest of them first, then each new one. */
export async function* followLogs(
  { timeline }: ControlContext,
  { id, limit }: { id: string; limit: number },
  signal: AbortSignal,
): AsyncGenerator<StreamEvent, void, void> {
  const live = timeline.followLogs(id, signal)[Symbol.asyncIterator]()
  let next = live.next()
  for (const line of timeline.logs(id, limit).toReversed()) yield { data: line }
  for (;;) {
    const step = await next
    if (step.done === true) return
    next = live.next()
    yield { data: step.value }
  }
}
