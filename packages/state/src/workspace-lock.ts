import { join } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import { setTimeout } from "node:timers/promises"
import { ClarityError, isJsonObject, systemClock, type Clock } from "@clarity-runtime/contracts"
import { ensureDirectory } from "./directory.ts"
import { nodeFileSystem, openFlags, type FileSystem } from "./file-system.ts"
import { readBounded } from "./read-bounded.ts"
import { discard, safeWrite } from "./safe-write.ts"
import { isErrno, storageError } from "./storage-error.ts"

export interface WorkspaceLockOptions {
  readonly fs?: FileSystem
  readonly clock?: Pick<Clock, "now">
}

/**
 * Makes this process the only owner of a directory, which is created if need be. The kernel gives the lock
 * (`clarity.lock`, held by an open SQLite transaction) back when the process ends, however it ends; who holds it is
 * written to `clarity.lock.owner`. Throws ClarityError: `conflict` naming the holder, `storage_error`.
 * While it is held, nothing in this process may open and close `clarity.lock`: POSIX would drop the lock.
 */
export async function lockWorkspace(directory: string, options: WorkspaceLockOptions = {}): Promise<AsyncDisposable> {
  const { fs = nodeFileSystem, clock = systemClock } = options
  const path = join(directory, "clarity.lock")
  const ownerPath = `${path}.owner`
  await ensureDirectory(directory, fs)
  await createLockFile(fs, path)

  const database = await takeLock(fs, directory, path, ownerPath)
  held.add(database)
  await writeOwner(fs, ownerPath, clock.now())
  return {
    async [Symbol.asyncDispose]() {
      if (!held.delete(database)) return
      await discard(fs, ownerPath)
      database.close()
    },
  }
}

/** Only ever created here, never opened when it exists: see the promise above. */
async function createLockFile(fs: FileSystem, path: string): Promise<void> {
  try {
    const file = await fs.open(path, openFlags.create, 0o600)
    try {
      await file.setMode(0o600)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw storageError("create", path, error)
    const kind = await fs.facts(path).then(
      (facts) => facts.kind,
      (unknown: unknown) => {
        throw storageError("lock", path, unknown)
      },
    )
    if (kind !== "file") throw new ClarityError("storage_error", `cannot lock ${path}: it is not a regular file`)
  }
}

/** An open transaction that excludes everybody else. */
async function takeLock(fs: FileSystem, directory: string, path: string, ownerPath: string): Promise<DatabaseSync> {
  const sqlite = loadSqlite()
  for (let attempt = 1; ; attempt++) {
    let database: DatabaseSync | undefined
    try {
      database = new sqlite.DatabaseSync(path)
      database.exec("BEGIN EXCLUSIVE")
      return database
    } catch (error) {
      database?.close()
      if (sqliteCode(error) !== busy) {
        const reason = error instanceof Error ? error.message : "unknown failure"
        throw new ClarityError("storage_error", `cannot lock ${path}: ${reason}`, { cause: error })
      }
    }
    // Two that ask at the same moment both hear "busy": each saw the other on its way, and nobody has it. So it is
    // asked for again, after unequal pauses. A holder writes its note just after it got the lock.
    const owner = await readOwner(fs, ownerPath)
    if ((owner !== undefined && attempt >= 4) || attempt >= 60) throw inUse(directory, owner)
    await setTimeout(5 + Math.random() * 25)
  }
}

function inUse(directory: string, owner: Owner | undefined): ClarityError {
  const who = owner === undefined ? "another process" : `process ${owner.pid} (since ${owner.since})`
  return new ClarityError("conflict", `${directory} is in use by ${who}. Stop that one, or choose another workspace.`, {
    data: { reason: "workspace_locked", ...(owner === undefined ? {} : { pid: owner.pid }) },
  })
}

interface Owner {
  readonly pid: number
  readonly since: string
}

async function readOwner(fs: FileSystem, path: string): Promise<Owner | undefined> {
  try {
    const read = await readBounded(fs, path, 4096)
    const owner: unknown = JSON.parse(Buffer.from(read?.bytes ?? []).toString("utf8"))
    if (!isJsonObject(owner) || !Number.isSafeInteger(owner["pid"])) return undefined
    const pid = Number(owner["pid"])
    return isAlive(pid) ? { pid, since: String(owner["since"]).slice(0, 40) } : undefined
  } catch (error) {
    // Being written, or by somebody without manners: the lock is what counts.
    if (error instanceof Error) return undefined
    throw error
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return isErrno(error, "EPERM")
  }
}

/** Only for whoever is refused to read: a disk too full for it is no reason not to start. */
async function writeOwner(fs: FileSystem, path: string, now: number): Promise<void> {
  const owner = { pid: process.pid, since: new Date(now).toISOString() }
  try {
    await safeWrite(path, `${JSON.stringify(owner)}\n`, { fs, lastGood: false })
  } catch (error) {
    if (!(error instanceof ClarityError)) throw error
  }
}

/** Reachable as long as they are held: a collected database would give its lock back. */
const held = new Set<DatabaseSync>()

const busy = 5

function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return undefined
  return error.errcode & 0xff
}

/** Loads SQLite; Node 22 warns that it is experimental, and that one warning is left out. */
function loadSqlite(): typeof import("node:sqlite") {
  const emit = process.emitWarning
  const quiet = (...given: Parameters<typeof process.emitWarning>) => {
    if (!String(given[0]).startsWith("SQLite is an experimental feature")) Reflect.apply(emit, process, given)
  }
  process.emitWarning = quiet as typeof process.emitWarning
  try {
    return process.getBuiltinModule("node:sqlite")
  } finally {
    process.emitWarning = emit
  }
}
