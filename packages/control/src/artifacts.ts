import { lstat, realpath, unlink } from "node:fs/promises"
import { basename, dirname, isAbsolute, join, sep } from "node:path"

/**
 * Deletes a compiled module, if that is what it is: a regular file really inside the build folder, links on the way
 * resolved. Resolves to `undefined` when it is gone, else to why it was kept.
 */
export async function removeArtifact(buildRoot: string, path: string): Promise<string | undefined> {
  if (!isAbsolute(path)) return "its path is not absolute"
  try {
    const root = await realpath(buildRoot)
    const real = join(await realpath(dirname(path)), basename(path))
    if (!real.startsWith(root + sep)) return "it is not inside the build folder"
    if (!(await lstat(real)).isFile()) return "it is not a regular file"
    await unlink(real)
    return undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT" || code === "ENOTDIR") return "it is not there"
    return `it could not be deleted (${code ?? "unknown reason"})`
  }
}
