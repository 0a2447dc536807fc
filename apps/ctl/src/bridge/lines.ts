import type { Readable, Writable } from "node:stream"

const newline = 0x0a

/**
 * The lines of a byte stream, without their ends; empty ones are left out. A line longer than `maxBytes` is not kept:
 * it comes as `undefined`, once, and the stream goes on behind it.
 */
export async function* readLines(stream: Readable, maxBytes: number): AsyncGenerator<string | undefined, void, void> {
  let parts: Buffer[] = []
  let length = 0
  let dropped = false
  for await (const chunk of stream) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
    let start = 0
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
      parts.push(bytes.subarray(start, end))
      const tooLong = dropped || length + end - start > maxBytes
      const line = tooLong ? undefined : Buffer.concat(parts).toString("utf8").trim()
      parts = []
      length = 0
      dropped = false
      start = end + 1
      if (line !== "") yield line
    }
    if (start === bytes.length || dropped) continue
    length += bytes.length - start
    dropped = length > maxBytes
    if (dropped) parts = []
    else parts.push(bytes.subarray(start))
  }
  const rest = Buffer.concat(parts).toString("utf8").trim()
  if (dropped) yield undefined
  else if (rest !== "") yield rest
}

/** Writes whole lines; resolves when the reader can take more. */
export function lineWriter(stream: Writable): (line: string) => Promise<void> {
  let room: Promise<void> | undefined
  return (line) => {
    if (!stream.write(`${line}\n`)) {
      room ??= new Promise((resolve) => {
        const on = () => {
          room = undefined
          stream.off("drain", on).off("close", on)
          resolve()
        }
        stream.on("drain", on).on("close", on)
      })
    }
    return room ?? Promise.resolve()
  }
}
