import { randomUUID } from "node:crypto"
import { basename, dirname, join } from "node:path"
import { syncDirectory, targetOf } from "./directory.ts"
import { nodeFileSystem, openFlags, type FileFacts, type FileSystem, type OpenFile } from "./file-system.ts"
import { errnoOf, isErrno, storageError } from "./storage-error.ts"

export interface SafeWriteOptions {
  readonly fs?: FileSystem
  /** Permission bits of a file that does not exist yet (default 0600, whatever the umask). An existing one keeps its own. */
  readonly mode?: number
  /** Keep what was there as `<path>.prev` (default true). */
  readonly lastGood?: boolean
  /**
   * The file as the caller last read or wrote it; `null`: it was not there. When it is another one now, somebody else
   * wrote it: that version is kept as `<path>.edited-<time>` and does not become the last good one.
   */
  readonly expected?: FileFacts | null
}

export interface Written {
  /** The file as it is now, for the next `expected`. */
  readonly facts: FileFacts
  /** Where somebody else's version was put. */
  readonly keptAside?: string
}

/** Writes to one place run one after the other, in the order they were asked for. */
interface Turns {
  /** Settles when the targets of all earlier writes are known. */
  resolving: Promise<unknown>
  readonly byTarget: Map<string, Promise<unknown>>
}
const turnsOf = new WeakMap<FileSystem, Turns>()

/**
 * Replaces a file's content so that at every moment, power cuts included, the old or the new content is there whole.
 * Resolves when the new content is durable. A symbolic link stays one, its target is written; mode and owner are kept.
 * On failure the old content stays, nothing is left behind, and a ClarityError `storage_error` names file and cause.
 * The directory must exist (`ensureDirectory`).
 */
export async function safeWrite(
  path: string,
  content: Uint8Array | string,
  options: SafeWriteOptions = {},
): Promise<Written> {
  const fs = options.fs ?? nodeFileSystem
  const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : content
  try {
    return await inTurn(fs, path, (target) => replace(fs, target, bytes, options))
  } catch (error) {
    throw storageError("write", path, error)
  }
}

async function inTurn<T>(fs: FileSystem, path: string, work: (target: string) => Promise<T>): Promise<T> {
  const turns = turnsOf.get(fs) ?? { resolving: Promise.resolve(), byTarget: new Map<string, Promise<unknown>>() }
  turnsOf.set(fs, turns)
  const resolve = () => targetOf(path, fs)
  const resolved = turns.resolving.then(resolve, resolve)
  turns.resolving = resolved
  const target = await resolved
  const start = () => work(target)
  const mine = (turns.byTarget.get(target) ?? Promise.resolve()).then(start, start)
  turns.byTarget.set(target, mine)
  try {
    return await mine
  } finally {
    if (turns.byTarget.get(target) === mine) turns.byTarget.delete(target)
  }
}

async function replace(fs: FileSystem, target: string, bytes: Uint8Array, options: SafeWriteOptions): Promise<Written> {
  const old = await factsOrUndefined(fs, target)
  if (old !== undefined && old.kind !== "file") throw Object.assign(new Error("not a file"), { code: "EISDIR" })
  const fresh = temporaryName(target)
  const before = temporaryName(target)
  try {
    const facts = await fill(fs, fresh, bytes, old, options.mode ?? 0o600)
    if (old !== undefined) await duplicate(fs, target, before, old)
    try {
      await fs.rename(fresh, target)
      await syncDirectory(dirname(target), fs)
    } catch (error) {
      await undo(fs, target, old === undefined ? undefined : before)
      throw error
    }
    return { facts, ...(await keepBefore(fs, target, before, old, options)) }
  } finally {
    await discard(fs, fresh)
    if (old !== undefined) await discard(fs, before)
  }
}

/** Puts the old content back after a rename whose durability is unknown. What fails here cannot be mended. */
async function undo(fs: FileSystem, target: string, before: string | undefined): Promise<void> {
  try {
    await (before === undefined ? fs.remove(target) : fs.rename(before, target))
    await syncDirectory(dirname(target), fs)
  } catch (error) {
    if (!(error instanceof Error)) throw error
  }
}

/** The new content is durable by now, so nothing here may fail the write. */
async function keepBefore(
  fs: FileSystem,
  target: string,
  before: string,
  old: FileFacts | undefined,
  { expected, lastGood = true }: SafeWriteOptions,
): Promise<{ keptAside?: string }> {
  if (old === undefined) return {}
  const foreign = expected !== undefined && !sameFile(expected, old)
  const place = foreign ? `${target}.edited-${timestamp(old.modifiedMs)}` : lastGood ? `${target}.prev` : undefined
  if (place === undefined) return {}
  try {
    await fs.rename(before, place)
    return foreign ? { keptAside: place } : {}
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return {}
  }
}

/** Writes a temporary file completely and durably. */
async function fill(
  fs: FileSystem,
  path: string,
  bytes: Uint8Array,
  old: FileFacts | undefined,
  mode: number,
): Promise<FileFacts> {
  const file = await fs.open(path, openFlags.create, 0o600)
  try {
    for (let offset = 0; offset < bytes.length;) {
      const taken = await again(() => file.write(bytes, offset))
      if (taken <= 0) throw Object.assign(new Error("the disk took no bytes"), { code: "EIO" })
      offset += taken
    }
    await file.setMode(old === undefined ? mode : await keepOwner(file, old))
    await again(() => file.sync())
    return await file.facts()
  } finally {
    await file.close()
  }
}

/** Gives the file its old owner and returns its old mode; where the owner cannot be kept, others lose their rights. */
async function keepOwner(file: OpenFile, old: FileFacts): Promise<number> {
  const now = await file.facts()
  if (now.owner === old.owner && now.group === old.group) return old.mode
  try {
    await file.setOwner(old.owner, old.group)
    return old.mode
  } catch (error) {
    if (isErrno(error, "EPERM", "EINVAL", "ENOSYS")) return old.mode & 0o700
    throw error
  }
}

/** The same content under a second name: a hard link, or a copy where the file system has none. */
export async function duplicate(fs: FileSystem, from: string, to: string, facts: FileFacts): Promise<void> {
  try {
    await fs.link(from, to)
  } catch (error) {
    if (!isErrno(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK")) throw error
    const source = await fs.open(from, openFlags.read)
    let bytes: Uint8Array
    try {
      bytes = await source.readAll()
    } finally {
      await source.close()
    }
    await fill(fs, to, bytes, undefined, facts.mode)
  }
}

export async function factsOrUndefined(fs: FileSystem, path: string): Promise<FileFacts | undefined> {
  try {
    return await fs.facts(path)
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined
    throw error
  }
}

/** Removes a file that may be there. A leftover is litter, not a failure. */
export async function discard(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.remove(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** True for names `safeWrite` gives its temporary files for this target: left behind by a process that was killed. */
export function isTemporaryOf(target: string, name: string): boolean {
  const prefix = `.${basename(target).slice(0, 150)}.`
  return name.startsWith(prefix) && /^(prev\.)?\d+\.[0-9a-f-]{36}\.tmp$/.test(name.slice(prefix.length))
}

/** `20261121T093000123Z`: sorts by time and fits into file names. */
export function timestamp(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/[-:.]/g, "")
}

function temporaryName(target: string): string {
  return join(dirname(target), `.${basename(target).slice(0, 150)}.${process.pid}.${randomUUID()}.tmp`)
}

function sameFile(a: FileFacts | null, b: FileFacts): boolean {
  return (
    a !== null && a.device === b.device && a.inode === b.inode && a.size === b.size && a.modifiedMs === b.modifiedMs
  )
}

/** Repeats what a signal interrupted. */
async function again<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call()
    } catch (error) {
      if (attempt >= 10 || !isErrno(error, "EINTR")) throw error
    }
  }
}
