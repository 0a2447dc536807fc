import { createBroadcast, type Broadcast, type LogLine, type ServiceLog } from "@clarity-runtime/contracts"
import { oneLine } from "./one-line.ts"
import { Ring } from "./ring.ts"

export interface LogBounds {
  readonly lines: number
  readonly lineBytes: number
  readonly bytes: number
}

export const logBounds: LogBounds = { lines: 2000, lineBytes: 8192, bytes: 262_144 }
const unreadLines = 512

/** The newest lines of one service. */
export class ServiceLogRing implements ServiceLog {
  readonly #bounds: LogBounds
  readonly #ring: Ring<LogLine>
  readonly #stamp: () => string
  readonly #deliver: (line: LogLine, bytes: number) => void
  #readers: Broadcast<LogLine> | undefined

  constructor(bounds: LogBounds, stamp: () => string, deliver: (line: LogLine, bytes: number) => void) {
    this.#bounds = bounds
    this.#ring = new Ring(bounds.lines, bounds.bytes)
    this.#stamp = stamp
    this.#deliver = deliver
  }

  write(stream: LogLine["stream"], text: string): void {
    const clean = oneLine(withoutLineEnd(text), this.#bounds.lineBytes)
    const line: LogLine = { at: this.#stamp(), stream, text: clean }
    const bytes = Buffer.byteLength(clean) + 64
    this.#ring.push(line, bytes)
    this.#readers?.publish(line)
    this.#deliver(line, bytes)
  }

  /** Newest first. */
  newest(limit: number): readonly LogLine[] {
    const lines: LogLine[] = []
    for (let n = 0; n < limit; n++) {
      const line = this.#ring.newest(n)
      if (line === undefined) break
      lines.push(line)
    }
    return lines
  }

  follow(signal: AbortSignal): AsyncIterable<LogLine> {
    this.#readers ??= createBroadcast<LogLine>(unreadLines)
    return this.#readers.subscribe(signal)
  }

  close(): void {
    this.#readers?.close()
  }
}

function withoutLineEnd(text: string): string {
  let end = text.length
  while (end > 0 && (text[end - 1] === "\n" || text[end - 1] === "\r")) end--
  return text.slice(0, end)
}
