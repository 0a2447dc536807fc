import { basename, dirname, join } from "node:path"
import { ClarityError, systemClock, type Clock } from "@clarity-runtime/contracts"
import { targetOf } from "./directory.ts"
import { nodeFileSystem, type FileFacts, type FileSystem } from "./file-system.ts"
import { datedSnapshots } from "./dated-snapshots.ts"
import { readBounded } from "./read-bounded.ts"
import { duplicate, safeWrite, timestamp } from "./safe-write.ts"
import { isErrno, storageError } from "./storage-error.ts"

/** Thrown by a decoder: these bytes are not what was once written. `message` completes "the file ...". */
export class Damaged extends Error {
  override readonly name = "Damaged"
}

export interface ReadDurableOptions {
  readonly fs?: FileSystem
  readonly clock?: Pick<Clock, "now">
  /** Larger files are refused unread; default 256 MiB. */
  readonly maxBytes?: number
}

export interface DurableRead<T> {
  /** Undefined when nothing was ever written here. */
  readonly value: T | undefined
  readonly from: "main" | "previous" | "snapshot" | "nothing"
  /** The file at `path` as it is now; `null` when there is none. */
  readonly facts: FileFacts | null
  /** What an operator should know, one sentence each. */
  readonly notices: readonly string[]
}

/**
 * Reads what `safeWrite` wrote: the file, else its last good version, else the newest dated snapshot. A damaged file
 * is kept as `<path>.corrupt-<time>` and replaced by the good version found. When there is data but none of it can be
 * read, or the decoder throws a ClarityError (a newer format, say), this throws `storage_error` and changes nothing:
 * existing data is never taken for no data.
 */
export async function readDurable<T>(
  path: string,
  decode: (text: string) => T,
  options: ReadDurableOptions = {},
): Promise<DurableRead<T>> {
  const { fs = nodeFileSystem, clock = systemClock, maxBytes = 256 * 1024 * 1024 } = options
  try {
    const target = await targetOf(path, fs)
    const main = await attempt(fs, target, decode, maxBytes)
    if (main.kind === "good") return { value: main.value, from: "main", facts: main.facts, notices: [] }

    const damaged = main.kind === "damaged" ? [`${path} ${main.why}`] : []
    const others = [
      { place: `${target}.prev`, from: "previous" as const },
      ...(await datedSnapshots(target, fs)).map((place) => ({ place, from: "snapshot" as const })),
    ]
    for (const { place, from } of others) {
      const found = await attempt(fs, place, decode, maxBytes)
      if (found.kind === "damaged") damaged.push(`${place} ${found.why}`)
      if (found.kind !== "good") continue
      const { facts, notices } = await restore(fs, target, main, found, clock)
      const what = damaged.length > 0 ? damaged.join("; ") : `${path} is missing (to begin anew, remove ${place} too)`
      return { value: found.value, from, facts, notices: [`${what}: used ${place} instead`, ...notices] }
    }
    if (damaged.length === 0) return { value: undefined, from: "nothing", facts: null, notices: [] }
    throw new ClarityError(
      "storage_error",
      `${damaged.join("; ")}; no good copy is left, so nothing was changed: repair the file, or move it away to begin anew`,
      { data: { reason: "damaged" } },
    )
  } catch (error) {
    throw storageError("read", path, error)
  }
}

type Attempt<T> =
  | { readonly kind: "missing" }
  | { readonly kind: "damaged"; readonly why: string; readonly facts: FileFacts }
  | { readonly kind: "good"; readonly value: T; readonly facts: FileFacts; readonly bytes: Uint8Array }

async function attempt<T>(
  fs: FileSystem,
  place: string,
  decode: (text: string) => T,
  maxBytes: number,
): Promise<Attempt<T>> {
  const read = await readBounded(fs, place, maxBytes)
  if (read === undefined) return { kind: "missing" }
  try {
    return { kind: "good", value: decode(textOf(read.bytes)), ...read }
  } catch (error) {
    if (error instanceof Damaged) return { kind: "damaged", why: error.message, facts: read.facts }
    throw error
  }
}

/** UTF-8 without its byte order mark. */
function textOf(bytes: Uint8Array): string {
  if (bytes.length === 0) throw new Damaged("is empty")
  if (bytes.every((byte) => byte === 0)) throw new Damaged("holds only zero bytes")
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch (error) {
    throw new Damaged("is not UTF-8 text", { cause: error })
  }
}

/** Keeps the damaged file aside and puts the good content in its place. A disk that refuses this is only noted. */
async function restore<T>(
  fs: FileSystem,
  target: string,
  main: Attempt<T>,
  found: Attempt<T> & { kind: "good" },
  clock: Pick<Clock, "now">,
): Promise<{ facts: FileFacts | null; notices: string[] }> {
  const notices: string[] = []
  const old = main.kind === "damaged" ? main.facts : null
  try {
    if (old !== null) {
      const aside = await keepAside(fs, target, old, clock)
      notices.push(`the damaged file is kept as ${aside}`)
    }
    const { facts } = await safeWrite(target, found.bytes, { fs, lastGood: false, mode: found.facts.mode })
    return { facts, notices }
  } catch (error) {
    notices.push(`${basename(target)} was not put right: ${storageError("write", target, error).message}`)
    return { facts: old, notices }
  }
}

async function keepAside(fs: FileSystem, target: string, old: FileFacts, clock: Pick<Clock, "now">): Promise<string> {
  for (let number = 0; ; number++) {
    const name = `${basename(target)}.corrupt-${timestamp(clock.now())}${number === 0 ? "" : `-${number}`}`
    const place = join(dirname(target), name)
    try {
      await duplicate(fs, target, place, old)
      return place
    } catch (error) {
      if (number >= 100 || !isErrno(error, "EEXIST")) throw error
    }
  }
}
