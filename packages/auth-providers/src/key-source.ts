import { randomBytes, randomUUID } from "node:crypto"
import { constants } from "node:fs"
import { link, open, unlink } from "node:fs/promises"
import { dirname, join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { ensureDirectory, isErrno, storageError } from "@clarity-runtime/state"

/** Where the key of sealed files comes from. */
export interface KeySource {
  /** For messages: the path of a file, the name of a program. */
  readonly name: string
  /** 32 bytes, or undefined when there is none yet. Throws ClarityError `storage_error` when there is one that may not be used. */
  read(): Promise<Buffer | undefined>
  /** Makes one where there is none, durably. */
  make(): Promise<Buffer>
}

const bytes = 32

/**
 * A key in a file of its own, mode 0600, away from the data it opens. A file that others may read, or that holds
 * something else than 32 bytes as base64, is refused.
 */
export function keyFile(path: string): KeySource {
  async function read(): Promise<Buffer | undefined> {
    try {
      const file = await open(path, constants.O_RDONLY)
      try {
        const facts = await file.stat()
        if (!facts.isFile()) throw unusable("is no regular file")
        if (process.platform !== "win32" && (facts.mode & 0o077) !== 0)
          throw unusable("can be read by other users: chmod 600 it")
        if (facts.size > 1024) throw unusable("holds something else than a key")
        const key = decodeKey(await file.readFile("utf8"))
        if (key === undefined) throw unusable("holds something else than a key")
        return key
      } finally {
        await file.close()
      }
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined
      throw storageError("read the key", path, error)
    }
  }

  function unusable(why: string): ClarityError {
    return new ClarityError("storage_error", `the key ${path} ${why}`, { data: { reason: "key_unusable" } })
  }

  return {
    name: path,
    read,
    async make() {
      const directory = dirname(path)
      await ensureDirectory(directory)
      const temporary = join(directory, `.${randomUUID()}.tmp`)
      try {
        const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
        try {
          await file.writeFile(`${randomBytes(bytes).toString("base64")}\n`)
          await file.sync()
        } finally {
          await file.close()
        }
        // Of two that make one at the same moment the first wins, and both read the same.
        await link(temporary, path).catch((error: unknown) => {
          if (!isErrno(error, "EEXIST")) throw error
        })
        await unlink(temporary)
        await syncFolder(directory)
      } catch (error) {
        throw storageError("make the key", path, error)
      }
      const key = await read()
      if (key === undefined) throw storageError("make the key", path, new Error("it is gone again"))
      return key
    },
  }
}

/** 32 bytes as base64; undefined for anything else. */
export function decodeKey(text: string): Buffer | undefined {
  const trimmed = text.trim()
  const key = Buffer.from(trimmed, "base64")
  return key.length === bytes && key.toString("base64") === trimmed ? key : undefined
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return
  const folder = await open(path, constants.O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
