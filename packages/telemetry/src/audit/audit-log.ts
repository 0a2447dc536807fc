import { join } from "node:path"
import {
  systemClock,
  type AuditDesk,
  type AuditHead,
  type Clock,
  type RecordedEvent,
  type TimelineEvent,
} from "@clarity-runtime/contracts"
import {
  ensureDirectory,
  isErrno,
  nodeFileSystem,
  openFlags,
  storageError,
  syncDirectory,
  type FileSystem,
  type OpenFile,
} from "@clarity-runtime/state"
import type { TelemetryItem, TelemetrySink } from "../delivery.ts"
import { ByteRoom } from "./byte-room.ts"
import { chain, genesis } from "./chain.ts"
import { newestIn } from "./newest.ts"
import { headOf, nameOf, readAnchor, readTail, segmentsIn, withSegment } from "./segments.ts"
import { removeOldest } from "./retention.ts"
import { verifyAudit } from "./verify.ts"

export interface AuditLogOptions {
  /** Folder of the segments; made with mode 0700 when missing. */
  readonly directory: string
  /** `everySecond` (default): a power cut takes at most the last second. `each`: no batch counts as written before it is durable. */
  readonly durability?: "everySecond" | "each"
  /** A new segment is begun when the current one would grow past this. Default 64 MiB, at most a quarter of `maxBytes`. */
  readonly segmentBytes?: number
  /** All segments together; the oldest go. Default 1 GiB. */
  readonly maxBytes?: number
  /** Segments whose last record is older go, looked at when a segment is begun. Default: never. */
  readonly maxDays?: number
  readonly clock?: Clock
  readonly fs?: FileSystem
}

/** The durable audit: a sink of the telemetry, and what an operator asks of it. */
export interface AuditLog extends TelemetrySink, AuditDesk {
  /** The newest records, oldest first, as they were before this start; none when they cannot be read. */
  newest(limit: number): Promise<readonly RecordedEvent[]>
}

const dayMs = 86_400_000
const syncEveryMs = 1000
const oldestSegmentMs = 7 * dayMs

interface Segment {
  readonly file: OpenFile
  readonly number: number
  readonly inode: number
  readonly begunAt: number
  size: number
}

/** What is known to be on the disk: a failure goes back to here. */
interface Synced {
  readonly segment: number
  readonly size: number
}

/**
 * Appends events as a chain of hashes to numbered segments (mode 0600). Records are numbered without gaps; the chain goes
 * on over segments and restarts. What a crash tore is cut off before anything is appended. After a failed write or sync
 * nothing is believed but what was synced before: the rest is written again, to a new file.
 */
export function auditLog(options: AuditLogOptions): AuditLog {
  const { directory, durability = "everySecond", clock = systemClock, fs = nodeFileSystem } = options
  const { maxBytes = 1024 ** 3, maxDays } = options
  const segmentBytes = Math.min(options.segmentBytes ?? 64 * 1024 ** 2, Math.floor(maxBytes / 4))
  const segmentMs = Math.min(oldestSegmentMs, ((maxDays ?? 14) * dayMs) / 2)
  const closing = new AbortController()
  const told: TimelineEvent[] = []
  const lasting: string[] = []

  let current: Segment | undefined
  let head: AuditHead = genesis
  let synced: Synced | undefined
  /** Written and not yet known to be on the disk. */
  let unsynced: Buffer[] = []
  const room = new ByteRoom()
  let failing: string | undefined
  let keepingSynced = false
  let turn: Promise<unknown> = Promise.resolve()

  /** One thing at a time happens to the files. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(work, work)
    turn = mine.catch(() => undefined)
    return mine
  }

  function tell(kind: string, message: string, data: TimelineEvent["data"] = {}): void {
    told.push({ kind, level: "warn", message, data })
    lasting.push(`The audit: ${message}`)
    if (lasting.length > 8) lasting.shift()
  }

  async function open(): Promise<Segment> {
    await ensureDirectory(directory, fs)
    const numbers = await segmentsIn(fs, directory)
    const number = numbers.at(-1)
    if (number === undefined) {
      head = (await readAnchor(fs, directory)) ?? genesis
      return begin(1)
    }
    const file = await fs.open(join(directory, nameOf(number)), openFlags.append, 0o600)
    try {
      const tail = await readTail(file)
      if (tail.whole < tail.size) {
        await file.setSize(tail.whole)
        const bytes = tail.size - tail.whole
        tell("audit.tail_cut", `the last record of ${nameOf(number)} was cut short by a crash`, { bytes })
      }
      const end = headOf(tail.lines) ?? (await headBefore(numbers.slice(0, -1)))
      head = end?.head ?? (await readAnchor(fs, directory)) ?? genesis
      if (end?.sound === false) tell("audit.damaged", `the last record of ${nameOf(number)} is not as it was written`)
      const facts = await file.facts()
      const begunAt = await begunIn(number)
      if (end?.sound !== false && tail.whole < segmentBytes && clock.now() - begunAt < segmentMs) {
        await file.syncData()
        synced = { segment: number, size: tail.whole }
        return { file, number, inode: facts.inode, begunAt, size: tail.whole }
      }
      await file.syncData()
      await file.close()
    } catch (error) {
      await quietly(file.close())
      throw error
    }
    return begin(number + 1)
  }

  /** The end of the chain before an empty segment. */
  async function headBefore(numbers: readonly number[]): Promise<ReturnType<typeof headOf>> {
    for (const number of numbers.toReversed()) {
      const end = headOf((await withSegment(fs, directory, number, (file) => readTail(file))).lines)
      if (end !== undefined) return end
    }
    return undefined
  }

  /** When the first record of a segment was written. */
  async function begunIn(number: number): Promise<number> {
    const start = await withSegment(fs, directory, number, (file) => file.readAt(0, 128))
    const at = Date.parse(/"at":"([^"]{20,30})"/.exec(Buffer.from(start).toString("latin1"))?.[1] ?? "")
    return Number.isNaN(at) ? clock.now() : at
  }

  async function begin(number: number): Promise<Segment> {
    const file = await fs.open(join(directory, nameOf(number)), openFlags.create, 0o600)
    try {
      await syncDirectory(directory, fs)
      const { inode } = await file.facts()
      synced = { segment: number, size: 0 }
      const problem = await removeOldest(fs, directory, {
        bytes: maxBytes - segmentBytes,
        before: maxDays === undefined ? 0 : clock.now() - maxDays * dayMs,
      })
      if (problem !== undefined) tell("audit.not_removed", `old segments could not be removed: ${problem}`)
      return { file, number, inode, begunAt: clock.now(), size: 0 }
    } catch (error) {
      await quietly(file.close())
      await quietly(fs.remove(join(directory, nameOf(number))))
      throw error
    }
  }

  /** Goes back to what was synced, and writes everything after it once more, to a new file. */
  async function repair({ segment, size }: Synced): Promise<Segment> {
    for (const number of await segmentsIn(fs, directory)) {
      const path = join(directory, nameOf(number))
      if (number > segment || (number === segment && size === 0)) await fs.remove(path)
      else if (number === segment) await cut(path, size)
    }
    const rest = unsynced
    const next = await begin(size === 0 ? segment : segment + 1)
    try {
      for (const bytes of rest) await append(next, bytes)
      await next.file.syncData()
    } catch (error) {
      await quietly(next.file.close())
      throw error
    }
    synced = { segment: next.number, size: next.size }
    forgetUnsynced()
    return next
  }

  function forgetUnsynced(): void {
    unsynced = []
    room.release()
  }

  async function cut(path: string, size: number): Promise<void> {
    const file = await fs.open(path, openFlags.append, 0o600)
    try {
      await file.setSize(size)
      await file.syncData()
    } finally {
      await file.close()
    }
  }

  async function append(segment: Segment, bytes: Buffer): Promise<void> {
    for (let offset = 0; offset < bytes.length;) {
      const taken = await segment.file.write(bytes, offset)
      if (taken <= 0) throw Object.assign(new Error("the disk took no bytes"), { code: "EIO" })
      offset += taken
      segment.size += taken
    }
  }

  async function ready(): Promise<Segment> {
    return (current ??= await (synced === undefined ? open() : repair(synced)))
  }

  async function sync(segment: Segment): Promise<void> {
    await segment.file.syncData()
    synced = { segment: segment.number, size: segment.size }
    forgetUnsynced()
    if (await isThere(segment)) return
    // Writing on would fill a file that nobody can see.
    tell("audit.file_gone", `${nameOf(segment.number)} was removed or replaced while it was written`)
    await segment.file.close()
    current = undefined
    await ensureDirectory(directory, fs)
    current = await begin(Math.max(segment.number, ...(await segmentsIn(fs, directory))) + 1)
  }

  async function isThere({ number, inode }: Segment): Promise<boolean> {
    try {
      return (await fs.facts(join(directory, nameOf(number)))).inode === inode
    } catch (error) {
      return !isErrno(error, "ENOENT", "ENOTDIR")
    }
  }

  /** Whatever fails leaves the files to be repaired, and says so until it has worked again. */
  async function attempt<T>(work: () => Promise<T>): Promise<T> {
    try {
      const done = await work()
      failing = undefined
      return done
    } catch (thrown) {
      const { message } = storageError("write the audit in", directory, thrown)
      failing = message
      const { file } = current ?? {}
      current = undefined
      if (file !== undefined) await quietly(file.close())
      throw new Error(message, { cause: thrown })
    }
  }

  async function keepSynced(): Promise<void> {
    if (keepingSynced) return
    keepingSynced = true
    while (unsynced.length > 0 && !closing.signal.aborted) {
      await clock.sleep(syncEveryMs, closing.signal)
      await quietly(inTurn(() => attempt(async () => (unsynced.length > 0 ? sync(await ready()) : undefined))))
    }
    keepingSynced = false
  }

  async function write(batch: readonly TelemetryItem[]): Promise<void> {
    let segment = await ready()
    const telling = told.length
    const sealed = seal(head, [...told.map((event) => fieldsOf({ at: now(), ...event })), ...batch.flatMap(recordOf)])
    if (segment.size > 0 && (segment.size + sealed.size > segmentBytes || tooOld(segment))) {
      await sync(segment)
      segment = await ready()
      if (segment.size > 0) {
        await segment.file.close()
        current = undefined
        current = segment = await begin(segment.number + 1)
      }
    }
    const mark = room.mark()
    const previous = head
    try {
      const bytes = bytesOf(sealed)
      await append(segment, bytes)
      unsynced.push(bytes)
      head = sealed.head
      if (durability === "each") await sync(segment)
    } catch (error) {
      // The batch will be handed in again.
      if (head !== previous) unsynced.pop()
      head = previous
      room.giveBack(mark)
      throw error
    }
    told.splice(0, telling)
  }

  function bytesOf({ lines, size }: Sealed): Buffer {
    const bytes = room.take(size)
    let at = 0
    for (const line of lines) at += bytes.write(line, at)
    return bytes
  }

  const now = () => new Date(clock.now()).toISOString()
  const tooOld = (segment: Segment) => clock.now() - segment.begunAt >= segmentMs

  function recordOf(item: TelemetryItem): string[] {
    // Numbers here are the chain's own: behind the first comma is all but the event's.
    if (typeof item === "string") return [item.slice(item.indexOf(",") + 1, -1)]
    if (!("lost" in item)) return []
    const message = `${item.lost} events found no room here`
    return [fieldsOf({ at: now(), kind: "audit.gap", level: "error", message, data: { lost: item.lost } })]
  }

  return {
    name: "audit",
    takes: "events",
    write: async (batch) => {
      await inTurn(() => attempt(() => write(batch)))
      if (durability === "everySecond") void keepSynced()
    },
    newest: (limit) => newestIn(fs, directory, limit).catch(() => []),
    async verify({ expect }, signal) {
      const state = await inTurn(async () => ({ head, current }))
      const live = state.current === undefined ? {} : { live: { head: state.head, segment: state.current } }
      return verifyAudit(directory, {
        fs,
        ...live,
        ...(expect === undefined ? {} : { expect }),
        ...(signal ? { signal } : {}),
      })
    },
    get notices() {
      return failing === undefined ? lasting : [...lasting, `The audit is not written, calls go on: ${failing}`]
    },
    async [Symbol.asyncDispose]() {
      closing.abort()
      await inTurn(async () => {
        if (unsynced.length > 0) await attempt(async () => sync(await ready()))
        const { file } = current ?? {}
        current = undefined
        await file?.close()
      })
    },
  }
}

function fieldsOf(record: object): string {
  return JSON.stringify(record).slice(1, -1)
}

interface Sealed {
  readonly lines: readonly string[]
  /** Of all lines, in bytes. */
  readonly size: number
  readonly head: AuditHead
}

/** The lines of these records behind `before`. */
function seal(before: AuditHead, records: readonly string[]): Sealed {
  let head = before
  let size = 0
  const lines = records.map((record) => {
    const chained = chain(head, record)
    head = chained.head
    size += Buffer.byteLength(chained.line)
    return chained.line
  })
  return { lines, size, head }
}

/** For what cannot make matters worse when it fails. */
async function quietly(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined)
}
