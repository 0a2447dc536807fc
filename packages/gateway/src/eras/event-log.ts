import { defaultQueued, openSse, type SseChannel } from "../edge/sse.ts"
import type { EventSink } from "../reply-response.ts"

/**
 * The events of one legacy stream, kept so that a client whose connection broke can read on (MCP 2025-11-25,
 * Streamable HTTP, resumability). Bounded: the oldest are forgotten first.
 */
export interface EventLog extends EventSink {
  readonly id: string
  /** Sends what came after event number `after`, then whatever comes; a stream attached before is closed. */
  attach(after: number): Response
  readonly ended: boolean
  readonly attached: boolean
}

const maxEvents = 1024
const maxBytes = 4 * 1024 * 1024

export function createEventLog(id: string): EventLog {
  const events: { readonly seq: number; readonly text: string }[] = []
  let bytes = 0
  let seq = 0
  let ended = false
  let channel: SseChannel | undefined

  const live = () => (channel?.signal.aborted === false ? channel : undefined)
  return {
    id,
    send(text) {
      seq++
      events.push({ seq, text })
      bytes += text.length
      while (events.length > maxEvents || (bytes > maxBytes && events.length > 1))
        bytes -= events.shift()?.text.length ?? 0
      live()?.send(text, `${id}/${seq}`)
      return true
    },
    async drained() {
      await live()?.drained()
    },
    end() {
      ended = true
      live()?.close()
    },
    attach(after) {
      live()?.close()
      const missed = events.filter((event) => event.seq > after)
      // What is kept is bounded already: all of it may wait for its client, and as much anew as on any stream.
      const kept = missed.reduce((sum, { text }) => sum + Buffer.byteLength(text) + 128, 0)
      channel = openSse({ maxQueued: defaultQueued + kept })
      for (const event of missed) channel.send(event.text, `${id}/${event.seq}`)
      const { response } = channel
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
