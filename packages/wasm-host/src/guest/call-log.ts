import { GuestFault } from "./fault.ts"

export type LogStream = "stdout" | "stderr"
/** A line of a service's log: where it goes, what it says. */
export type LogEntry = readonly [LogStream, string]

/** What one call may write. */
export const logBounds = { lines: 1000, characters: 65_536 } as const
/** Lines of a call that runs longer than this are sent on before it ends, so that they survive its being cut. */
const flushAfterMs = 20

/** Collects the log lines of one call, bounded. */
export class CallLog {
  #entries: LogEntry[] = []
  #partial = ""
  #lines = 0
  #characters = 0
  #flushedAt = 0
  readonly #flush: (entries: LogEntry[]) => void

  /** `flush` gets the lines of a long call while it runs. */
  constructor(flush: (entries: LogEntry[]) => void) {
    this.#flush = flush
  }

  begin(): void {
    this.#entries = []
    this.#partial = ""
    this.#lines = 0
    this.#characters = 0
    this.#flushedAt = performance.now()
  }

  write(stream: LogStream, text: string): void {
    const lines = text.split(/\r\n|\r|\n/)
    this.#spend(lines.length, text.length)
    for (const line of lines) this.#entries.push([stream, line])
    if (performance.now() - this.#flushedAt > flushAfterMs) {
      this.#flush(this.#entries)
      this.#entries = []
      this.#flushedAt = performance.now()
    }
  }

  /** Text to stdout without an end of line; what is left at the end of the call is a line of its own. */
  writePartial(text: string): void {
    const whole = this.#partial + text
    const end = whole.lastIndexOf("\n")
    this.#partial = whole.slice(end + 1)
    if (end >= 0) this.write("stdout", whole.slice(0, end))
    else this.#spend(0, text.length)
  }

  /** A line to stdout, after what was written without an end of line. */
  writeLine(text: string): void {
    const whole = this.#partial + text
    this.#partial = ""
    this.write("stdout", whole)
  }

  /** The lines not yet sent on. */
  end(): LogEntry[] {
    if (this.#partial !== "") this.#entries.push(["stdout", this.#partial])
    const entries = this.#entries
    this.#entries = []
    this.#partial = ""
    return entries
  }

  #spend(lines: number, characters: number): void {
    this.#lines += lines
    this.#characters += characters
    if (this.#lines > logBounds.lines || this.#characters > logBounds.characters) {
      throw new GuestFault(`log limit: a call may write ${logBounds.lines} lines or ${logBounds.characters} characters`)
    }
  }
}
