import { basename, dirname, join } from "node:path"
import type { FileSystem } from "./file-system.ts"
import { readBounded } from "./read-bounded.ts"
import { discard, factsOrUndefined, safeWrite } from "./safe-write.ts"
import { isErrno } from "./storage-error.ts"

/** Places of the daily snapshots of a file, newest first. */
export async function datedSnapshots(target: string, fs: FileSystem): Promise<string[]> {
  const prefix = `${basename(target)}.`
  const names = await namesIn(dirname(target), fs)
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{4}-\d\d-\d\d\.snapshot$/.test(name.slice(prefix.length)))
    .sort()
    .reverse()
    .map((name) => join(dirname(target), name))
}

/**
 * Keeps the last good version (`<target>.prev`) as the snapshot of this UTC day unless there is one, and removes all
 * but the newest `keep`. A courtesy: throws errno errors, which a caller may ignore.
 */
export async function keepDatedSnapshot(target: string, epochMs: number, keep: number, fs: FileSystem): Promise<void> {
  const place = `${target}.${new Date(epochMs).toISOString().slice(0, 10)}.snapshot`
  if (keep > 0 && (await factsOrUndefined(fs, place)) === undefined) {
    const previous = await readBounded(fs, `${target}.prev`, Number.POSITIVE_INFINITY)
    if (previous === undefined) return
    // Bytes of its own: under a link, what damages the last good version would damage this one too.
    await safeWrite(place, previous.bytes, { fs, lastGood: false, mode: previous.facts.mode })
  }
  for (const old of (await datedSnapshots(target, fs)).slice(keep)) await discard(fs, old)
}

export async function namesIn(directory: string, fs: FileSystem): Promise<readonly string[]> {
  try {
    return await fs.list(directory)
  } catch (error) {
    if (isErrno(error, "ENOENT")) return []
    throw error
  }
}
