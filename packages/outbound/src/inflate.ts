import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from "node:zlib"

/** Turns the bytes of one content coding back, never holding more than a few chunks. */
export interface Inflater {
  /** False: wait for `onDrain` before the next. */
  write(chunk: Uint8Array): boolean
  end(): void
  pause(): void
  resume(): void
  destroy(): void
}

export interface InflaterSink {
  /** So many bytes of the wire are being inflated now. */
  onInput(bytes: number): void
  onData(chunk: Buffer): void
  onEnd(): void
  onDrain(): void
  onError(error: Error): void
}

export const codings = new Set(["gzip", "x-gzip", "deflate", "br"])

/** The one coding of a body, "" for none, undefined when it is unknown or one of several. */
export function codingOf(contentEncoding: string | undefined): string | undefined {
  if (contentEncoding === undefined) return ""
  const coding = contentEncoding.trim().toLowerCase()
  if (coding === "" || coding === "identity") return ""
  return codings.has(coding) ? coding : undefined
}

/** Little enough that what it inflates to can be judged before the next is begun. */
const sliceBytes = 8 * 1024

/** `first` is the first chunk: "deflate" means zlib's format, but some send the bare one. */
export function createInflater(coding: string, first: Uint8Array, sink: InflaterSink): Inflater {
  const stream =
    coding === "br"
      ? createBrotliDecompress()
      : coding !== "deflate"
        ? createGunzip()
        : ((first[0] ?? 0) & 0x0f) === 8
          ? createInflate()
          : createInflateRaw()
  stream.on("data", (chunk: Buffer) => sink.onData(chunk))
  stream.on("end", () => sink.onEnd())
  const waiting: Uint8Array[] = []
  let busy = false
  let ending = false
  function next() {
    const slice = waiting.shift()
    busy = slice !== undefined
    if (slice) {
      sink.onInput(slice.length)
      if (!stream.destroyed) stream.write(slice, next)
    } else {
      if (ending) stream.end()
      sink.onDrain()
    }
  }
  stream.on("error", (error) => sink.onError(error))
  return {
    write(chunk) {
      for (let at = 0; at < chunk.length; at += sliceBytes) waiting.push(chunk.subarray(at, at + sliceBytes))
      if (!busy) next()
      return !busy
    },
    end() {
      ending = true
      if (!busy) stream.end()
    },
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    destroy: () => void stream.destroy(),
  }
}
