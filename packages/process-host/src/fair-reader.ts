import type { Readable } from "node:stream"
import type { Clock } from "@clarity-runtime/contracts"

export interface FairReaderOptions {
  readonly stream: Readable
  readonly clock: Clock
  /** Ends every pause. */
  readonly signal: AbortSignal
  read(slice: Buffer): void
  /** Milliseconds to leave the stream unread for, asked after each turn. */
  restMs(): number
}

export interface FairReader {
  /** The stream is over: what was put off is read now. */
  flush(): void
}

/** Bytes between two looks at the clock, and the milliseconds after which everybody else has a turn. */
const sliceBytes = 16 * 1024
const turnMs = 1
/** What one read of a pipe can bring; so much means that more is there. */
const fullRead = 64 * 1024

/** Reads a pipe without holding up the event loop, however much comes: while it pauses the writer waits, nobody else. */
export function readFairly({ stream, clock, signal, read, restMs }: FairReaderOptions): FairReader {
  let left: Buffer | undefined
  let paused = false

  function work(chunk: Buffer) {
    const began = chunk.length > sliceBytes ? clock.monotonic() : 0
    for (let at = 0; at < chunk.length;) {
      read(chunk.subarray(at, at + sliceBytes))
      at += sliceBytes
      if (at < chunk.length && clock.monotonic() - began > turnMs) {
        left = chunk.subarray(at)
        break
      }
    }
    const ms = restMs()
    if (ms > 0) pause(() => void clock.sleep(ms, signal).then(goOn))
    else if (left || chunk.length >= fullRead) pause(() => void setImmediate(goOn))
  }

  function pause(until: () => void) {
    paused = true
    stream.pause()
    until()
  }

  function goOn() {
    paused = false
    const chunk = left
    left = undefined
    if (chunk) work(chunk)
    if (!paused) stream.resume()
  }

  stream.on("data", work)
  return {
    flush() {
      if (left) read(left)
      left = undefined
    },
  }
}
