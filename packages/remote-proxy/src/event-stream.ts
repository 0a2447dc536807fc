import type { Clock } from "@clarity-runtime/contracts"
import type { Pace } from "@clarity-runtime/mcp-peer"
import { StringDecoder } from "node:string_decoder"
import { setImmediate as breathe } from "node:timers/promises"
import { createParser } from "eventsource-parser"
import { invalid } from "./failures.ts"

/** Longest event and longest line, in characters. */
export const maxEventChars = 4 * 1024 * 1024

/** What is remembered of a stream for the case that it breaks. */
export interface StreamMemory {
  lastEventId: string | undefined
  /** Milliseconds the server wants to be left alone before a reconnection, within our own bounds. */
  retryMs: number | undefined
}

export interface EventSink {
  readonly name: string
  readonly maxChars: number
  readonly memory?: StreamMemory
  /** How quickly the stream is read when it brings what nobody asked for. */
  readonly pace: Pace
  readonly clock: Clock
  readonly signal: AbortSignal
  /** A sign of life: bytes came, an event or not. */
  alive(): void
  /** One event with data. True: nothing more is wanted. */
  event(data: string, type: string | undefined): boolean
}

/** Bytes between two looks at the clock, and the milliseconds after which everybody else has a turn. */
const sliceBytes = 16 * 1024
const turnMs = 1
/** So many bytes are a turn, whatever the clock says. */
const turnBytes = 64 * 1024

const retryBounds = [100, 30_000] as const
/** An id that can be given back in a header. */
const usableId = /^[\x21-\x7e]{1,1024}$/

/** Reads server-sent events until the stream ends (false) or the sink has enough (true). Throws TransportError, OutboundError. */
export async function readEvents(chunks: AsyncIterator<Uint8Array>, sink: EventSink): Promise<boolean> {
  const { name, maxChars, memory, pace, clock } = sink
  const decoder = new StringDecoder("utf8")
  let enough = false
  let overflow = false
  let used = false
  const parser = createParser({
    maxBufferSize: maxChars,
    onId(id) {
      if (memory) memory.lastEventId = usableId.test(id) ? id : undefined
    },
    onEvent({ data, event }) {
      used = true
      if (!enough && data !== "") enough = sink.event(data, event)
    },
    onRetry(ms) {
      if (memory) memory.retryMs = Math.min(Math.max(ms, retryBounds[0]), retryBounds[1])
    },
    onError(error) {
      overflow ||= error.type === "max-buffer-size-exceeded"
    },
  })
  let turn = 0
  let began = 0
  try {
    for (;;) {
      const { done, value } = await chunks.next()
      if (done) return false
      sink.alive()
      for (let at = 0; at < value.byteLength; at += sliceBytes) {
        const length = Math.min(sliceBytes, value.byteLength - at)
        if (turn === 0) began = clock.monotonic()
        turn += length
        used = false
        parser.feed(decoder.write(Buffer.from(value.buffer, value.byteOffset + at, length)))
        if (overflow) throw invalid(name, `sent an event of more than ${maxChars} characters`, "event_too_large")
        if (enough) return true
        if (!used) pace.waste(length)
        const restMs = pace.restMs()
        if (restMs > 0) await clock.sleep(restMs, sink.signal)
        else if (turn >= turnBytes || (turn > sliceBytes && clock.monotonic() - began > turnMs)) await breathe()
        else continue
        turn = 0
      }
    }
  } catch (thrown) {
    await chunks.return?.()
    throw thrown
  }
}
