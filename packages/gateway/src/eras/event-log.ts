import { defaultQueued, openSse, type SseChannel } from "../edge/sse.ts"
import type { EventSink } from "../reply-response.ts"

/**
 * The events of one legacy stream, kept so that a client whose connection broke can read on (MCP 2025-11-25,
 * Streamable HTTP, resumability). Bounded: the oldest are forgotten first.
 */
export interface EventLog extends EventSink {
  readonly id: string
  /**
   * Sends what came after event number `after`, without one what no stream has taken yet, then whatever comes; a stream
   * attached before is closed. `opened` is given the stream, to close it before its time.
   */
  attach(after?: number, opened?: (channel: Pick<SseChannel, "close" | "signal">) => void): Response
  /** Forgets all events and gives their room back. */
  forget(): void
  readonly ended: boolean
  readonly attached: boolean
}

/** Room for the events of all logs together. */
export interface LogRoom {
  used: number
  readonly max: number
}

const maxEvents = 1024
const maxBytes = 4 * 1024 * 1024

export function createEventLog(id: string, room: LogRoom): EventLog {
  const events: { readonly seq: number; readonly text: string }[] = []
  let bytes = 0
  let seq = 0
  let taken = 0
  let ended = false
  let channel: SseChannel | undefined

  function account(length: number): void {
    bytes += length
    room.used += length
  }

  const live = () => (channel?.signal.aborted === false ? channel : undefined)
  return {
    id,
    send(text) {
      seq++
      events.push({ seq, text })
      account(text.length)
      while (events.length > maxEvents || ((bytes > maxBytes || room.used > room.max) && events.length > 1))
        account(-(events.shift()?.text.length ?? 0))
      if (live()?.send(text, `${id}/${seq}`)) taken = seq
      return true
    },
    async drained() {
      await live()?.drained()
    },
    end() {
      ended = true
      live()?.close()
    },
    forget() {
      account(-bytes)
      events.length = 0
    },
    attach(after = taken, opened) {
      live()?.close()
      const missed = events.filter((event) => event.seq > after)
      // What is kept is bounded already: all of it may wait for its client, and as much anew as on any stream.
      const kept = missed.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 128, 0)
      channel = openSse({ maxQueued: defaultQueued + kept })
      for (const event of missed) channel.send(event.text, `${id}/${event.seq}`)
      taken = seq
      const { response } = channel
      opened?.(channel)
      if (ended) channel.close()
      return response
    },
    get ended() {
      return ended
    },
    get attached() {
      return live() !== undefined
    },
  }
}
