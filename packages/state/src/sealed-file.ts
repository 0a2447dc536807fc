import { createHash } from "node:crypto"
import { dirname, join } from "node:path"
import {
  canonicalJson,
  ClarityError,
  isJsonObject,
  parseJson,
  systemClock,
  type Clock,
  type JsonObject,
} from "@clarity-runtime/contracts"
import { keepDatedSnapshot, namesIn } from "./dated-snapshots.ts"
import { ensureDirectory, syncDirectory, targetOf } from "./directory.ts"
import { nodeFileSystem, type FileFacts, type FileSystem } from "./file-system.ts"
import { readBounded } from "./read-bounded.ts"
import { Damaged, readDurable } from "./read-durable.ts"
import { discard, duplicate, factsOrUndefined, isTemporaryOf, safeWrite, timestamp } from "./safe-write.ts"
import { errnoOf, storageError } from "./storage-error.ts"

export interface SealedFileOptions {
  readonly path: string
  /** The newest `version` this program reads. A file with a greater one is refused and left alone. */
  readonly version: number
  /**
   * Files from before checksums: accepted when they carry neither `generation` nor `checksum` and have these keys
   * only. Their original is kept as `<path><backup>` at the first write.
   */
  readonly unsealed?: { readonly keys: readonly string[]; readonly backup: string }
  /**
   * What `<path>.prev` holds. `before` (default): the version before, for a person who wants to go back. `same`: the
   * version of now, so that damage to either of the two loses nothing: for what must not come back, such
   * as a token that was revoked. A change then waits for both.
   */
  readonly twin?: "before" | "same"
  /** Dated snapshots to keep, one a day; default 10. */
  readonly snapshots?: number
  readonly fs?: FileSystem
  readonly clock?: Pick<Clock, "now">
}

export interface SealedContent {
  /** Without `generation` and `checksum`. */
  readonly body: JsonObject
  /** 0 for an unsealed file. */
  readonly generation: number
  readonly sealed: boolean
}

/**
 * One JSON object in one file, readable by people, guarded by a checksum and numbered by generation. The program
 * that holds the workspace lock is its only writer.
 */
export interface SealedFile {
  /**
   * The newest readable content, or undefined when nothing was ever written. `check` may refuse a body by throwing
   * `Damaged` (an older copy is tried) or a ClarityError (nothing is touched).
   */
  read(check?: (content: SealedContent) => void): Promise<SealedContent | undefined>
  /** Resolves when durable. Throws ClarityError `storage_error`; the file is then as before. */
  write(body: JsonObject, generation: number): Promise<void>
  /** What an operator should know, oldest first. */
  readonly notices: readonly string[]
}

export function sealedFile(options: SealedFileOptions): SealedFile {
  const { path, version, fs = nodeFileSystem, clock = systemClock } = options
  const twin = options.twin === "same"
  const notices: string[] = []
  let expected: FileFacts | null | undefined
  let original: FileFacts | undefined

  function open(text: string): SealedContent {
    const content = unseal(text, options)
    const found = content.body["version"]
    if (typeof found !== "number" || !Number.isInteger(found) || found < 1) throw new Damaged("has no version")
    if (found > version)
      throw new ClarityError(
        "storage_error",
        `${path} was written by a newer version (format ${found}, this one reads up to ${version}); it was left alone`,
        { data: { reason: "newer_version" } },
      )
    return content
  }

  /** What a killed process left behind. */
  async function sweep(): Promise<void> {
    try {
      const target = await targetOf(path, fs)
      for (const name of await namesIn(dirname(target), fs))
        if (isTemporaryOf(target, name)) await discard(fs, join(dirname(target), name))
    } catch (error) {
      throw storageError("read", path, error)
    }
  }

  async function keepOriginal(facts: FileFacts, suffix: string): Promise<void> {
    const target = await targetOf(path, fs)
    const kept = await factsOrUndefined(fs, `${target}${suffix}`)
    if (kept?.inode === facts.inode && kept.device === facts.device) return
    const place = `${target}${suffix}${kept === undefined ? "" : `-${timestamp(clock.now())}`}`
    await duplicate(fs, target, place, facts)
    notices.push(`${path} was rewritten in the new format; the original is kept as ${place}`)
  }

  /** The second copy, ahead of the file itself. Resolves to how to take it back. */
  async function writeTwin(text: string): Promise<() => Promise<unknown>> {
    const place = `${await targetOf(path, fs)}.prev`
    const before = await readBounded(fs, place, Number.POSITIVE_INFINITY)
    await safeWrite(place, text, { fs, lastGood: false })
    return () => (before === undefined ? discard(fs, place) : safeWrite(place, before.bytes, { fs, lastGood: false }))
  }

  /** After the first write there is nothing to go back to: the file goes if its twin cannot be made. */
  async function firstTwin(text: string): Promise<void> {
    try {
      await writeTwin(text)
    } catch (error) {
      await courtesy(async () => {
        const target = await targetOf(path, fs)
        await fs.remove(target)
        await syncDirectory(dirname(target), fs)
      })
      expected = null
      throw storageError("write", path, error)
    }
  }

  /** The write itself has been decided by now; what fails here is not worth failing it for. */
  async function courtesy(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof ClarityError) && errnoOf(error) === undefined) throw error
    }
  }

  async function afterWrite(text: string, first: boolean): Promise<void> {
    const target = await targetOf(path, fs)
    // From the first write on there are two copies.
    if (first) await safeWrite(`${target}.prev`, text, { fs, lastGood: false })
    else await keepDatedSnapshot(target, clock.now(), options.snapshots ?? 10, fs)
  }

  return {
    notices,
    async read(check) {
      await sweep()
      const read = await readDurable(
        path,
        (text) => {
          const content = open(text)
          check?.(content)
          return content
        },
        { fs, clock },
      )
      notices.push(...read.notices)
      expected = read.facts
      original = read.value?.sealed === false && read.facts !== null ? read.facts : undefined
      return read.value
    },
    async write(body, generation) {
      const text = seal(body, generation)
      const first = expected === null
      let takeBack: (() => Promise<unknown>) | undefined
      try {
        if (!expected) await ensureDirectory(dirname(await targetOf(path, fs)), fs)
        if (original && options.unsealed) await keepOriginal(original, options.unsealed.backup)
        if (twin && !first) takeBack = await writeTwin(text)
      } catch (error) {
        throw storageError("write", path, error)
      }
      try {
        const known = expected === undefined ? {} : { expected }
        const result = await safeWrite(path, text, { fs, lastGood: !twin, ...known })
        expected = result.facts
        original = undefined
        if (result.keptAside)
          notices.push(`${path} was changed by somebody else while in use; that version is kept as ${result.keptAside}`)
      } catch (error) {
        if (takeBack !== undefined) await courtesy(takeBack)
        throw error
      }
      if (twin && first) await firstTwin(text)
      else await courtesy(() => afterWrite(text, first))
    },
  }
}

/** The text of a sealed file: the body, then `generation` and `checksum` (SHA-256 over the canonical JSON of the rest). */
export function seal(body: JsonObject, generation: number): string {
  const content = { ...body, generation }
  return `${JSON.stringify({ ...content, checksum: checksumOf(content) }, null, 2)}\n`
}

/** Throws `Damaged`. */
function unseal(text: string, { unsealed }: Pick<SealedFileOptions, "unsealed">): SealedContent {
  let parsed: unknown
  try {
    parsed = parseJson(text)
  } catch (error) {
    throw new Damaged("is not valid JSON (cut off or overwritten)", { cause: error })
  }
  if (!isJsonObject(parsed)) throw new Damaged(`holds ${parsed === null ? "null" : "no JSON object"}`)
  const { checksum, ...content } = parsed
  if (checksum === undefined) {
    const known = unsealed !== undefined && Object.keys(content).every((key) => unsealed.keys.includes(key))
    if (!known) throw new Damaged("has no checksum")
    return { body: content, generation: 0, sealed: false }
  }
  if (checksum !== checksumOf(content)) throw new Damaged("does not match its checksum")
  const { generation, ...body } = content
  if (typeof generation !== "number" || !Number.isSafeInteger(generation)) throw new Damaged("has no generation")
  return { body, generation, sealed: true }
}

function checksumOf(content: JsonObject): string {
  return `sha256:${createHash("sha256").update(canonicalJson(content)).digest("hex")}`
}
