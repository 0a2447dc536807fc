import { basename, dirname, join, resolve } from "node:path"
import { nodeFileSystem, openFlags, type FileSystem } from "./file-system.ts"
import { isErrno, storageError } from "./storage-error.ts"

/**
 * Makes a directory and its missing parents, each 0700 whatever the umask, and makes their names durable.
 * An existing directory is left as it is. Throws ClarityError `storage_error`.
 */
export async function ensureDirectory(path: string, fs: FileSystem = nodeFileSystem): Promise<void> {
  try {
    await make(resolve(path), fs)
  } catch (error) {
    throw storageError("make the directory", path, error)
  }
}

async function make(path: string, fs: FileSystem, parentMade = false): Promise<void> {
  try {
    await fs.makeDirectory(path, 0o700)
  } catch (error) {
    // Some file systems (/proc) say ENOENT also where the parent is there: asked once more, not for ever.
    if (isErrno(error, "ENOENT") && !parentMade && dirname(path) !== path) {
      await make(dirname(path), fs)
      return make(path, fs, true)
    }
    if (isErrno(error, "EEXIST") && (await fs.facts(path)).kind === "directory") return
    throw error
  }
  await fs.setMode(path, 0o700)
  await syncDirectory(dirname(path), fs)
}

/** Makes the names in a directory durable. Does nothing where the platform cannot. */
export async function syncDirectory(path: string, fs: FileSystem): Promise<void> {
  if (process.platform === "win32") return
  const directory = await fs.open(path, openFlags.read)
  try {
    await directory.sync()
  } catch (error) {
    // Some file systems (FUSE, network mounts) have no such operation.
    if (!isErrno(error, "EINVAL", "ENOTSUP", "EOPNOTSUPP")) throw error
  } finally {
    await directory.close()
  }
}

/** Where bytes for `path` really go: links are followed, a dangling one to the place it names. */
export async function targetOf(path: string, fs: FileSystem): Promise<string> {
  let place = resolve(path)
  for (let hops = 0; hops < 40; hops++) {
    try {
      return await fs.realPath(place)
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error
    }
    const parent = await realOrSelf(dirname(place), fs)
    place = join(parent, basename(place))
    try {
      place = resolve(parent, await fs.readLink(place))
    } catch (error) {
      if (isErrno(error, "ENOENT", "EINVAL")) return place
      throw error
    }
  }
  throw Object.assign(new Error("too many symbolic links"), { code: "ELOOP" })
}

async function realOrSelf(path: string, fs: FileSystem): Promise<string> {
  try {
    return await fs.realPath(path)
  } catch (error) {
    if (isErrno(error, "ENOENT")) return path
    throw error
  }
}
