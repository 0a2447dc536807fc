/** What a line reader tells its owner, in the order of the bytes. */
export interface LineEvents {
  /** A whole line without its `\n` or `\r\n`; `bytes` as it came. */
  line(text: string, bytes: number): void
  /** A line has grown over the bound; the rest of it is skipped. `head` are its first 256 bytes. */
  passed?(head: string): void
  /** A line longer than the bound is over and was not kept; `head` and `tail` are its ends, 256 bytes each. */
  overlong(head: string, tail: string, bytes: number): void
}

export interface LineReader {
  push(chunk: Buffer): void
  /** The stream has ended: what is left over counts as a line. */
  end(): void
  /** Bytes held of a line that is not over yet; never above the bound. */
  readonly held: number
  /** Bytes so far of an overlong line that is being skipped; 0 when none is. */
  readonly skipped: number
}

const endBytes = 256
const keptCapacity = 64 * 1024

/**
 * Splits bytes into lines at `\n` and nowhere else (U+2028 and its kin are text), so a character cut in two by a chunk
 * border stays whole. Holds at most `maxBytes` of an unfinished line, whatever the size and number of the chunks.
 */
export function createLineReader(maxBytes: number, events: LineEvents): LineReader {
  let buffer = Buffer.allocUnsafe(0)
  let held = 0
  /** Bytes of the overlong line being skipped; 0 when none is. */
  let skipped = 0
  let head = ""
  let tail = Buffer.alloc(0)

  function hold(part: Buffer) {
    const needed = held + part.length
    if (needed > buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(maxBytes, buffer.length * 2), 4096))
      buffer.copy(grown, 0, 0, held)
      buffer = grown
    }
    part.copy(buffer, held)
    held = needed
  }

  function release() {
    held = 0
    if (buffer.length > keptCapacity) buffer = Buffer.allocUnsafe(0)
  }

  function skip(part: Buffer) {
    if (skipped === 0) {
      const start = Buffer.concat([buffer.subarray(0, Math.min(held, endBytes)), part.subarray(0, endBytes)])
      head = start.toString("utf8", 0, endBytes)
      skipped = held
      tail = Buffer.from(buffer.subarray(Math.max(0, held - endBytes), held))
      release()
      events.passed?.(head)
    }
    skipped += part.length
    tail = Buffer.concat([tail, part.subarray(Math.max(0, part.length - endBytes))])
    tail = Buffer.from(tail.subarray(Math.max(0, tail.length - endBytes)))
  }

  function add(part: Buffer) {
    if (skipped > 0 || held + part.length > maxBytes) skip(part)
    else hold(part)
  }

  function emit(line: Buffer) {
    const length = line.length > 0 && line[line.length - 1] === 13 ? line.length - 1 : line.length
    events.line(line.toString("utf8", 0, length), line.length)
  }

  function finish(part: Buffer) {
    if (skipped === 0 && held === 0 && part.length <= maxBytes) return emit(part)
    add(part)
    if (skipped > 0) {
      const bytes = skipped
      skipped = 0
      events.overlong(head, tail.toString("utf8").replace(/\r$/, ""), bytes)
    } else {
      const line = buffer.subarray(0, held)
      const text = line.toString("utf8", 0, line[line.length - 1] === 13 ? line.length - 1 : line.length)
      const bytes = line.length
      release()
      events.line(text, bytes)
    }
  }

  return {
    push(chunk) {
      let from = 0
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
        finish(chunk.subarray(from, at))
        from = at + 1
      }
      if (from < chunk.length) add(chunk.subarray(from))
    },
    end() {
      if (held > 0 || skipped > 0) finish(Buffer.alloc(0))
    },
    get held() {
      return held
    },
    get skipped() {
      return skipped
    },
  }
}
