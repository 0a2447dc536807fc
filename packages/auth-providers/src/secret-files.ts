import { constants } from "node:fs"
import { lstat, mkdir, open, readdir, realpath, rename, stat, unlink } from "node:fs/promises"
import { randomUUID } from "node:crypto"
import * as path from "node:path"
import { CredentialProblem } from "./reference.ts"

/** Secrets as files below one folder. Every path is checked where it really leads, not how it is spelled. */
export interface SecretFiles {
  exists(): Promise<boolean>
  /** The file's text without its last line break. Throws CredentialProblem. */
  read(relative: string): Promise<SecretFile>
  /** Atomic and durable; mode 0600 in folders of mode 0700. Throws CredentialProblem. */
  write(relative: string, secret: string): Promise<void>
  /** False when there was none. Throws CredentialProblem. */
  remove(relative: string): Promise<boolean>
  /** Sorted by path. */
  list(): Promise<readonly { readonly path: string; readonly modifiedAt: Date }[]>
}

export interface SecretFile {
  readonly text: string
  /** What an operator should mend, in words. */
  readonly warnings: readonly string[]
}

/** Bytes of one secret. */
export const maxSecretBytes = 65_536
const maxListed = 10_000
const maxDepth = 16
const temporary = /^\.[0-9a-f-]{36}\.tmp$/
// Not known on Windows, where there is nothing to follow or to block on.
const noFollow = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

const outside = () => new CredentialProblem("file authRef path must stay inside CLARITY_REMOTE_AUTH_FILE_ROOT")

export function secretFiles(root: string): SecretFiles {
  /** The root as it really is, or a problem when it is not there. */
  async function realRoot(): Promise<string> {
    return realpath(root).catch((error: unknown) => {
      throw new CredentialProblem(
        isCode(error, "ENOENT")
          ? "the folder for file secrets does not exist"
          : "the folder for file secrets cannot be read",
      )
    })
  }

  /** The real folder of an entry below the root; makes missing ones when told to. */
  async function folderOf(base: string, segments: readonly string[], make: boolean): Promise<string> {
    let folder = base
    for (const segment of segments) {
      const next = path.join(folder, segment)
      if (make) await mkdir(next, { mode: 0o700 }).catch(unless("EEXIST"))
      folder = await realpath(next)
      if (!isInside(base, folder)) throw outside()
    }
    return folder
  }

  return {
    exists: async () =>
      stat(root).then(
        (found) => found.isDirectory(),
        () => false,
      ),

    async read(relative) {
      const segments = checkPath(relative)
      const base = await realRoot()
      const spelled = path.join(base, ...segments)
      const real = await realpath(spelled).catch(() => {
        throw new CredentialProblem("no such secret file")
      })
      if (!isInside(base, real)) throw outside()
      if (!(await lstat(real)).isFile()) throw new CredentialProblem("not a regular file")
      const file = await open(real, constants.O_RDONLY | noFollow).catch(() => {
        throw new CredentialProblem("the secret file cannot be opened")
      })
      try {
        const opened = await file.stat()
        if (!opened.isFile()) throw new CredentialProblem("not a regular file")
        if (opened.nlink > 1) throw new CredentialProblem("the secret file has more than one name (hard links)")
        if (opened.size > maxSecretBytes)
          throw new CredentialProblem(`the secret file is larger than ${maxSecretBytes} bytes`)
        const buffer = Buffer.alloc(maxSecretBytes + 1)
        let length = 0
        while (length < buffer.length) {
          const { bytesRead } = await file.read(buffer, length, buffer.length - length, null)
          if (bytesRead === 0) break
          length += bytesRead
        }
        if (length > maxSecretBytes)
          throw new CredentialProblem(`the secret file is larger than ${maxSecretBytes} bytes`)
        // A folder on the way may have been swapped for a link between the check and the open.
        const now = await stat(await realpath(spelled))
        if (now.ino !== opened.ino || now.dev !== opened.dev)
          throw new CredentialProblem("the secret file changed while it was read")
        return { text: decode(buffer.subarray(0, length)), warnings: warningsOf(opened) }
      } finally {
        await file.close()
      }
    },

    async write(relative, secret) {
      const segments = checkPath(relative)
      const name = segments.at(-1) as string
      await mkdir(root, { recursive: true, mode: 0o700 })
      const base = await realRoot()
      const folder = await folderOf(base, segments.slice(0, -1), true)
      const target = path.join(folder, name)
      const existing = await lstat(target).catch(unless("ENOENT"))
      if (existing !== undefined && !existing.isFile()) throw new CredentialProblem("not a regular file")
      const temp = path.join(folder, `.${randomUUID()}.tmp`)
      try {
        const file = await open(temp, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow, 0o600)
        try {
          await file.writeFile(secret, "utf8")
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(temp, target)
      } catch (error) {
        await unlink(temp).catch(unless("ENOENT"))
        throw error
      }
      await syncFolder(folder)
    },

    async remove(relative) {
      const segments = checkPath(relative)
      try {
        const base = await realpath(root)
        const folder = await folderOf(base, segments.slice(0, -1), false)
        const target = path.join(folder, segments.at(-1) as string)
        if ((await lstat(target)).isDirectory()) throw new CredentialProblem("not a regular file")
        await unlink(target)
        await syncFolder(folder)
        return true
      } catch (error) {
        if (isCode(error, "ENOENT")) return false
        throw error
      }
    },

    async list() {
      const found: { path: string; modifiedAt: Date }[] = []
      const walk = async (folder: string, prefix: string, depth: number): Promise<void> => {
        const entries = await readdir(folder, { withFileTypes: true }).catch(unless("ENOENT"))
        for (const entry of entries ?? []) {
          if (found.length >= maxListed) return
          if (entry.isDirectory() && depth < maxDepth) {
            await walk(path.join(folder, entry.name), `${prefix}${entry.name}/`, depth + 1)
          } else if (entry.isFile() && !temporary.test(entry.name)) {
            const now = await lstat(path.join(folder, entry.name)).catch(unless("ENOENT"))
            if (now !== undefined) found.push({ path: `${prefix}${entry.name}`, modifiedAt: now.mtime })
          }
        }
      }
      await walk(root, "", 0)
      return found.sort((a, b) => (a.path < b.path ? -1 : 1))
    },
  }
}

/** The parts of a relative path that cannot lead upwards or elsewhere by its spelling alone. */
function checkPath(relative: string): string[] {
  const segments = relative.split("/")
  const bad =
    relative === "" ||
    relative.length > 512 ||
    path.posix.isAbsolute(relative) ||
    path.win32.isAbsolute(relative) ||
    /[\0\\:]/.test(relative) ||
    segments.length > maxDepth ||
    segments.some((segment) => segment === "" || segment === "." || segment === ".." || segment.length > 255) ||
    temporary.test(segments.at(-1) ?? "")
  if (bad) throw outside()
  return segments
}

function isInside(base: string, target: string): boolean {
  const prefix = base.endsWith(path.sep) ? base : base + path.sep
  return target.startsWith(prefix)
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\r?\n$/, "")
  } catch (error) {
    throw new CredentialProblem("the secret file is not UTF-8 text", { cause: error })
  }
}

function warningsOf(opened: { mode: number; uid: number }): string[] {
  if (process.platform === "win32") return []
  const warnings: string[] = []
  if ((opened.mode & 0o077) !== 0)
    warnings.push(
      `the secret file is open to other users (mode ${(opened.mode & 0o777).toString(8).padStart(4, "0")}): chmod 600 it`,
    )
  if (opened.uid !== process.getuid?.()) warnings.push("the secret file belongs to another user")
  return warnings
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code
}

/** For `catch`: swallows that one system error, lets every other through. */
function unless(code: string): (error: unknown) => undefined {
  return (error) => {
    if (isCode(error, code)) return undefined
    throw error
  }
}
