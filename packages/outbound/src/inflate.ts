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
  stream.on("drain", () => sink.onDrain())
  stream.on("error", (error) => sink.onError(error))
  return {
    write: (chunk) => stream.write(chunk),
    end: () => void stream.end(),
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    destroy: () => void stream.destroy(),
  }
}
