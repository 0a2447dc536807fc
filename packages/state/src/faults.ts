import { nodeFileSystem, type FileSystem, type OpenFile } from "./file-system.ts"

/** What goes wrong: an errno, or a write that takes only a part of the bytes. */
export type Fault = "EIO" | "ENOSPC" | "EINTR" | "EROFS" | "EACCES" | "short"

export interface FaultyFileSystem extends FileSystem {
  /** Calls made so far, as `write`, `sync`, `rename`, ... */
  readonly calls: readonly string[]
  /** The call that was made to fail; undefined while none was. */
  readonly failed: string | undefined
}

/**
 * The disk, with one fault: the `at`-th call (from 0; infinite: none) fails, or with `lasting` every call from that one
 * on. `short` concerns writes only; other calls pass. A failing close still closes.
 */
export function faultyFileSystem(
  at: number,
  fault: Fault = "EIO",
  options: { readonly lasting?: boolean; readonly inner?: FileSystem } = {},
): FaultyFileSystem {
  const { inner = nodeFileSystem, lasting = false } = options
  const calls: string[] = []
  let failed: string | undefined

  const strikes = (name: string): boolean => {
    const number = calls.push(name) - 1
    const now = lasting ? number >= at : number === at
    if (!now || (fault === "short" && name !== "write")) return false
    failed ??= name
    return true
  }
  const error = (name: string) =>
    Object.assign(new Error(`${fault}: injected, ${name}`), { code: fault, syscall: name })
  const guard = async <T>(name: string, call: () => Promise<T>): Promise<T> => {
    if (strikes(name)) throw error(name)
    return call()
  }
  const file = (open: OpenFile): OpenFile => ({
    async write(bytes, offset) {
      if (!strikes("write")) return open.write(bytes, offset)
      if (fault !== "short") throw error("write")
      return open.write(bytes.subarray(0, offset + Math.ceil((bytes.length - offset) / 2)), offset)
    },
    readAll: () => guard("readAll", () => open.readAll()),
    readAt: (offset, length) => guard("readAt", () => open.readAt(offset, length)),
    facts: () => guard("facts", () => open.facts()),
    setMode: (mode) => guard("setMode", () => open.setMode(mode)),
    setOwner: (owner, group) => guard("setOwner", () => open.setOwner(owner, group)),
    setSize: (bytes) => guard("setSize", () => open.setSize(bytes)),
    sync: () => guard("sync", () => open.sync()),
    syncData: () => guard("syncData", () => open.syncData()),
    async close() {
      await open.close()
      if (strikes("close")) throw error("close")
    },
  })

  return {
    calls,
    get failed() {
      return failed
    },
    open: (path, flags, mode) => guard("open", async () => file(await inner.open(path, flags, mode))),
    facts: (path) => guard("facts", () => inner.facts(path)),
    readLink: (path) => guard("readLink", () => inner.readLink(path)),
    realPath: (path) => guard("realPath", () => inner.realPath(path)),
    list: (directory) => guard("list", () => inner.list(directory)),
    rename: (from, to) => guard("rename", () => inner.rename(from, to)),
    link: (from, to) => guard("link", () => inner.link(from, to)),
    remove: (path) => guard("remove", () => inner.remove(path)),
    makeDirectory: (path, mode) => guard("makeDirectory", () => inner.makeDirectory(path, mode)),
    setMode: (path, mode) => guard("setMode", () => inner.setMode(path, mode)),
  }
}
