import { join } from "node:path"
import { isJsonObject, parseJson, type AuditHead } from "@clarity-runtime/contracts"
import { isErrno, openFlags, safeWrite, type FileSystem, type OpenFile } from "@clarity-runtime/state"
import { readChained } from "./chain.ts"

const segmentName = /^audit-(\d{8,12})\.ndjson$/
const anchorName = "anchor.json"
/** A record is at most some 40 KiB, so the tail holds several. */
export const tailBytes = 131_072

export function nameOf(segment: number): string {
  return `audit-${String(segment).padStart(8, "0")}.ndjson`
}

/** Numbers of the segments there are, ascending. Throws what the disk throws; a missing folder has none. */
export async function segmentsIn(fs: FileSystem, directory: string): Promise<number[]> {
  const names = await fs.list(directory).catch((error: unknown) => {
    if (isErrno(error, "ENOENT")) return []
    throw error
  })
  return names
    .flatMap((name) => Number(segmentName.exec(name)?.[1] ?? []))
    .filter((number) => number > 0)
    .sort((a, b) => a - b)
}

/** The end of a segment: where its last whole line ends, and its last lines. */
export interface Tail {
  readonly size: number
  /** Bytes up to and with the last line break; less than `size` when the last line is torn. */
  readonly whole: number
  /** Whole lines, oldest first. */
  readonly lines: readonly string[]
}

export async function readTail(file: OpenFile, bytes = tailBytes): Promise<Tail> {
  const { size } = await file.facts()
  const start = Math.max(0, size - bytes)
  const tail = Buffer.from(await file.readAt(start, size - start))
  const end = tail.lastIndexOf(10) + 1
  // So much without a line break is nothing a crash leaves behind: it is kept, and no record.
  if (end === 0 && start > 0) return { size, whole: size, lines: [""] }
  // Where the tail begins in the middle of a line, that one is left out.
  const begin = start === 0 ? 0 : tail.indexOf(10) + 1
  const text = tail.toString("utf8", Math.min(begin, end), Math.max(0, end - 1))
  return { size, whole: start + end, lines: text === "" ? [] : text.split("\n") }
}

/** Opens a segment for reading, and closes it after. */
export async function withSegment<T>(
  fs: FileSystem,
  directory: string,
  segment: number,
  work: (file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await fs.open(join(directory, nameOf(segment)), openFlags.read)
  try {
    return await work(file)
  } finally {
    await file.close()
  }
}

/**
 * Where a chain stands that ends with these lines, and whether the last of them is sound. A damaged end is taken as it
 * lies there, so that what follows does not hide the damage.
 */
export function headOf(lines: readonly string[]): { readonly head: AuditHead; readonly sound: boolean } | undefined {
  let behind = 0
  const last = readChained(lines.at(-1) ?? "")
  if (last?.sound === true) return { head: { seq: last.seq, hash: last.hash }, sound: true }
  if (lines.length === 0) return undefined
  const hash = last?.hash ?? "f".repeat(64)
  for (const line of lines.toReversed()) {
    const read = readChained(line)
    if (read?.sound === true) return { head: { seq: read.seq + behind, hash }, sound: false }
    behind++
  }
  return { head: { seq: last?.seq ?? behind, hash }, sound: false }
}

/** The newest record among those that were removed for their age or the room they took. */
export async function readAnchor(fs: FileSystem, directory: string): Promise<AuditHead | undefined> {
  const file = await fs.open(join(directory, anchorName), openFlags.read).catch((error: unknown) => {
    if (isErrno(error, "ENOENT")) return undefined
    throw error
  })
  if (file === undefined) return undefined
  try {
    const { size } = await file.facts()
    const value = parseJson(Buffer.from(await file.readAt(0, Math.min(size, 4096))).toString("utf8"))
    if (!isJsonObject(value)) return unreadable
    const { seq, hash } = value
    return typeof seq === "number" && typeof hash === "string" ? { seq, hash } : unreadable
  } catch (error) {
    if (error instanceof SyntaxError) return unreadable
    throw error
  } finally {
    await file.close()
  }
}

/** Matches no record, so that a damaged anchor is found. */
const unreadable: AuditHead = { seq: -1, hash: "" }

export async function writeAnchor(fs: FileSystem, directory: string, { seq, hash }: AuditHead): Promise<void> {
  await safeWrite(join(directory, anchorName), `${JSON.stringify({ seq, hash })}\n`, { fs, lastGood: false })
}
