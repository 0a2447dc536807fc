import { redact } from "./redact.ts"

// Control characters, separators that some readers take for line ends, and those that reverse what a person reads.
// oxlint-disable-next-line no-control-regex
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g
// oxlint-disable-next-line no-control-regex
const anyUnprintable = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/
const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

/** A text from anywhere as one line that is safe to print: secrets taken out, control characters escaped, cut to `maxBytes` of UTF-8. */
export function oneLine(text: string, maxBytes: number): string {
  let line = text.length > 2 * maxBytes ? text.slice(0, 2 * maxBytes) : text
  line = redact(line)
  if (anyUnprintable.test(line)) line = line.replace(unprintable, escape)
  if (!line.isWellFormed()) line = line.toWellFormed()
  return cut(line, maxBytes)
}

function escape(character: string): string {
  return short[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
}

function cut(line: string, maxBytes: number): string {
  if (line.length * 3 <= maxBytes || Buffer.byteLength(line) <= maxBytes) return line
  const kept = Buffer.from(line.slice(0, maxBytes)).subarray(0, Math.max(0, maxBytes - 3))
  return `${kept.toString("utf8").replace(/\ufffd+$/, "")}…`
}
