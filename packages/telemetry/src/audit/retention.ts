import { join } from "node:path"
import type { FileSystem } from "@clarity-runtime/state"
import { storageError } from "@clarity-runtime/state"
import { headOf, nameOf, readTail, segmentsIn, withSegment, writeAnchor } from "./segments.ts"

/** What may stay: so many bytes in all, and nothing last written before a moment (epoch milliseconds). */
export interface Retention {
  readonly bytes: number
  readonly before: number
}

/**
 * Removes the oldest segments, never the newest. Where the chain stood after them is kept in the anchor first, so that
 * what is left can still be proved. Never throws: says what kept it from its work.
 */
export async function removeOldest(fs: FileSystem, directory: string, keep: Retention): Promise<string | undefined> {
  try {
    const segments = await Promise.all(
      (await segmentsIn(fs, directory)).map(async (number) => {
        const { size, modifiedMs } = await fs.facts(join(directory, nameOf(number)))
        return { number, size, modifiedMs }
      }),
    )
    let total = segments.reduce((sum, { size }) => sum + size, 0)
    for (const { number, size, modifiedMs } of segments.slice(0, -1)) {
      if (total <= keep.bytes && modifiedMs >= keep.before) break
      const end = headOf((await withSegment(fs, directory, number, (file) => readTail(file))).lines)
      if (end !== undefined) await writeAnchor(fs, directory, end.head)
      await fs.remove(join(directory, nameOf(number)))
      total -= size
    }
    return undefined
  } catch (thrown) {
    return storageError("remove old segments in", directory, thrown).message
  }
}
