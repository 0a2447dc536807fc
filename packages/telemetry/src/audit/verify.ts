import type { AuditHead, AuditProblem, AuditReport } from "@clarity-runtime/contracts"
import { nodeFileSystem, storageError, type FileSystem, type OpenFile } from "@clarity-runtime/state"
import { genesis, readChained } from "./chain.ts"
import { nameOf, readAnchor, segmentsIn, withSegment } from "./segments.ts"

export interface VerifyOptions {
  /** A record noted earlier, which must still be there. */
  readonly expect?: AuditHead
  /** Where the chain stands in the memory of whoever is writing it. */
  readonly live?: { readonly head: AuditHead; readonly segment: { readonly number: number; readonly size: number } }
  readonly fs?: FileSystem
  readonly signal?: AbortSignal
}

const chunkBytes = 262_144
const maxLineBytes = 262_144
const maxProblems = 100
const lostCount = /"kind":"audit\.gap".{0,200}"lost":(\d{1,15})/

/**
 * Walks the chain of a folder from its oldest record on. Every change, removal or insertion in the middle breaks it; so
 * does a missing end, as far as `live` or `expect` knows better. Reads only. Throws ClarityError `storage_error`.
 */
export async function verifyAudit(directory: string, options: VerifyOptions = {}): Promise<AuditReport> {
  const { fs = nodeFileSystem } = options
  try {
    const walk = new Walk(await readAnchor(fs, directory), options)
    const segments = await segmentsIn(fs, directory)
    for (const number of segments) {
      const most = number === options.live?.segment.number ? options.live.segment.size : Number.POSITIVE_INFINITY
      await withSegment(fs, directory, number, (file) => walk.segment(nameOf(number), file, most))
    }
    return walk.report(segments.length)
  } catch (thrown) {
    options.signal?.throwIfAborted()
    throw storageError("read the audit in", directory, thrown)
  }
}

class Walk {
  readonly #anchor: AuditHead | undefined
  readonly #options: VerifyOptions
  readonly #problems: AuditProblem[] = []
  #before: AuditHead | undefined
  #first: number | undefined
  #anchored: boolean
  #expected: boolean
  #records = 0
  #bytes = 0
  #unrecorded = 0
  #file = ""
  #line = 0

  constructor(anchor: AuditHead | undefined, options: VerifyOptions) {
    this.#anchor = anchor
    this.#options = options
    this.#anchored = anchor === undefined
    this.#expected = options.expect === undefined
  }

  async segment(name: string, file: OpenFile, most: number): Promise<void> {
    this.#file = name
    this.#line = 0
    let rest = Buffer.alloc(0)
    for (let offset = 0; offset < most;) {
      this.#options.signal?.throwIfAborted()
      const chunk = Buffer.from(await file.readAt(offset, Math.min(chunkBytes, most - offset)))
      if (chunk.length === 0) break
      offset += chunk.length
      this.#bytes += chunk.length
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let start = 0
      for (let end = rest.indexOf(10, start); end >= 0; end = rest.indexOf(10, start)) {
        this.#read(rest.toString("utf8", start, end))
        start = end + 1
      }
      rest = rest.subarray(start)
      if (rest.length > maxLineBytes) {
        this.#line++
        return this.#problem("a line is longer than any record; the rest of this segment was not read")
      }
    }
    this.#line++
    if (rest.length > 0) this.#problem(`the last line is not complete (${rest.length} bytes)`)
  }

  #read(text: string): void {
    this.#line++
    this.#records++
    const record = readChained(text)
    if (record === undefined) return this.#problem("this is no record")
    if (!record.sound) this.#problem(`record ${record.seq} is not as it was written`)
    const before = this.#before
    if (before === undefined) this.#begin(record)
    else if (record.prev !== before.hash)
      this.#problem(
        `record ${record.seq} does not follow record ${before.seq}: something between them was changed, removed or put in`,
      )
    else if (record.seq !== before.seq + 1) this.#problem(`record ${record.seq} stands where ${before.seq + 1} belongs`)
    this.#before = { seq: record.seq, hash: record.hash }
    this.#meet(this.#before)
    this.#unrecorded += Number(lostCount.exec(text)?.[1] ?? 0)
  }

  /** The oldest record follows the anchor; or holds it, when a crash came between writing it and removing what it stands for. */
  #begin({ seq, prev }: AuditHead & { readonly prev: string }): void {
    this.#first = seq
    const before = { seq: seq - 1, hash: prev }
    if (this.#anchor === undefined) {
      if (!same(before, genesis)) this.#problem(`records before ${seq} are missing`)
    } else if (same(before, this.#anchor)) this.#anchored = true
    else if (this.#anchor.seq < seq) {
      this.#anchored = true
      this.#problem(`records between ${this.#anchor.seq} and ${seq} are missing`)
    }
  }

  #meet(head: AuditHead): void {
    if (this.#anchor !== undefined && same(head, this.#anchor)) this.#anchored = true
    if (this.#options.expect !== undefined && same(head, this.#options.expect)) this.#expected = true
  }

  report(segments: number): AuditReport {
    const { live, expect } = this.#options
    const last = this.#before ?? this.#anchor
    const kept = this.#first ?? (this.#anchor?.seq ?? 0) + 1
    if (!this.#anchored && this.#before !== undefined)
      this.#whole("the anchor of removed records fits none of those that are kept")
    if (live !== undefined && !same(last ?? genesis, live.head))
      this.#whole(`the chain ends with record ${last?.seq ?? 0}, but record ${live.head.seq} was written`)
    if (
      !this.#expected &&
      expect !== undefined &&
      expect.seq >= kept - 1 &&
      !same(expect, last ?? genesis) &&
      !this.#isAnchor(expect)
    )
      this.#whole(`record ${expect.seq} with the hash ${expect.hash.slice(0, 16)}... is not in the chain`)
    return {
      ok: this.#problems.length === 0,
      records: this.#records,
      segments,
      bytes: this.#bytes,
      ...(this.#first === undefined ? {} : { first: this.#first }),
      ...(last === undefined ? {} : { last }),
      unrecorded: this.#unrecorded,
      problems: this.#problems,
    }
  }

  #isAnchor(head: AuditHead): boolean {
    return this.#anchor !== undefined && same(head, this.#anchor)
  }

  #problem(what: string): void {
    if (this.#problems.length < maxProblems) this.#problems.push({ file: this.#file, line: this.#line, what })
  }

  #whole(what: string): void {
    this.#line = 0
    this.#problem(what)
  }
}

function same(a: AuditHead, b: AuditHead): boolean {
  return a.seq === b.seq && a.hash === b.hash
}
