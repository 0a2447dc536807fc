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
/** Smaller parts are copied together into blocks of that size, larger ones are kept as they came. */
const blockBytes = 64 * 1024
const largePart = 16 * 1024

/**
 * Splits bytes into lines at `\n` and nowhere else (U+2028 and its kin are text), so a character cut in two by a chunk
 * border stays whole. Holds at most `maxBytes` of an unfinished line, whatever the size and number of the chunks.
 */
export function createLineReader(maxBytes: number, events: LineEvents): LineReader {
  /** What is held, in order; the last one is `block` while that has room. */
  let blocks: Buffer[] = []
  let block: Buffer | undefined
  let inBlock = 0
  let held = 0
  /** Bytes of the overlong line being skipped; 0 when none is. */
  let skipped = 0
  let head = ""
  let tail = Buffer.alloc(0)

  function hold(part: Buffer) {
    held += part.length
    if (part.length >= largePart) {
      seal()
      blocks.push(part)
      return
    }
    for (let at = 0; at < part.length;) {
      block ??= Buffer.allocUnsafeSlow(blockBytes)
      const copied = part.copy(block, inBlock, at)
      at += copied
      inBlock += copied
      if (inBlock === blockBytes) seal()
    }
  }

  function seal() {
    if (!block || inBlock === 0) return
    if (inBlock < blockBytes) blocks.push(Buffer.from(block.subarray(0, inBlock)))
    else {
      blocks.push(block)
      block = undefined
    }
    inBlock = 0
  }

  /** All that is held, and nothing is held any more. */
  function release(): Buffer {
    let all: Buffer
    if (blocks.length === 0 && block) {
      // Its bytes are read before anything else is put there.
      all = block.subarray(0, inBlock)
      inBlock = 0
    } else {
      seal()
      all = blocks.length === 1 && blocks[0] ? blocks[0] : Buffer.concat(blocks, held)
      blocks = []
    }
    held = 0
    return all
  }

  function skip(part: Buffer) {
    if (skipped === 0) {
      skipped = held
      seal()
      head = Buffer.concat([...until(blocks), part.subarray(0, endBytes)]).toString("utf8", 0, endBytes)
      tail = Buffer.concat(until(blocks.toReversed()).toReversed())
      blocks = []
      held = 0
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
      emit(release())
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

/** So many of the parts, from the first on, as have the bytes of an end. */
function until(parts: readonly Buffer[]): Buffer[] {
  let bytes = 0
  return parts.slice(0, parts.findIndex((part) => (bytes += part.length) >= endBytes) + 1 || parts.length)
}
