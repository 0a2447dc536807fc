import type { ServiceLog } from "@clarity-runtime/contracts"
import { createLineReader } from "./line-reader.ts"

/** Reads what a child says on stderr: every line to the log, the last ones kept for the error that tells of its death. */
export interface StderrTail {
  push(chunk: Buffer): void
  /** The stream is over: what is left counts as a line. */
  end(): void
  /** The last lines without stack frames, at most 500 characters; empty when it said nothing. */
  reason(): string
}

const maxLineBytes = 64 * 1024
const keptLines = 12
const maxReason = 500

/** `heard` is told of each line. */
export function createStderrTail(log: ServiceLog, redact: (text: string) => string, heard: () => void): StderrTail {
  const kept: string[] = []
  const take = (text: string) => {
    heard()
    const line = redact(text)
    log.write("stderr", line)
    // Indented lines are stack frames and pieces of code in every language that matters here.
    if (/^(\s|$|[{}^]+$|Node\.js v|node:internal)/.test(line)) return
    kept.push(line.slice(0, maxReason))
    if (kept.length > keptLines) kept.shift()
  }
  const lines = createLineReader(maxLineBytes, {
    line: take,
    overlong: (head, _tail, bytes) => take(`${head}... (${bytes} bytes)`),
  })
  return {
    push: (chunk) => lines.push(chunk),
    end: () => lines.end(),
    reason: () => kept.join("\n").slice(0, maxReason),
  }
}
