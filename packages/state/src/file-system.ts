import { constants } from "node:fs"
import * as promises from "node:fs/promises"

/** What is known of a file without reading it. */
export interface FileFacts {
  readonly kind: "file" | "directory" | "other"
  readonly device: number
  readonly inode: number
  readonly size: number
  readonly modifiedMs: number
  /** Permission bits only. */
  readonly mode: number
  readonly owner: number
  readonly group: number
}

/** One open file. Every call may throw an error with an errno `code`. */
export interface OpenFile {
  /** Writes from `offset` of `bytes` at the current position; returns how many bytes were taken, perhaps fewer. */
  write(bytes: Uint8Array, offset: number): Promise<number>
  readAll(): Promise<Uint8Array>
  /** At most `length` bytes from `offset`; fewer at the end of the file. */
  readAt(offset: number, length: number): Promise<Uint8Array>
  facts(): Promise<FileFacts>
  setMode(mode: number): Promise<void>
  setOwner(owner: number, group: number): Promise<void>
  /** Cuts what lies behind. */
  setSize(bytes: number): Promise<void>
  sync(): Promise<void>
  /** Content and length are durable; times and mode may not be. */
  syncData(): Promise<void>
  close(): Promise<void>
}

/** Every call this package makes to the disk: a seam, so that each can be made to fail. */
export interface FileSystem {
  open(path: string, flags: number, mode?: number): Promise<OpenFile>
  /** Follows links. */
  facts(path: string): Promise<FileFacts>
  readLink(path: string): Promise<string>
  realPath(path: string): Promise<string>
  list(directory: string): Promise<readonly string[]>
  rename(from: string, to: string): Promise<void>
  link(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  makeDirectory(path: string, mode: number): Promise<void>
  setMode(path: string, mode: number): Promise<void>
}

/** The disk. */
export const nodeFileSystem: FileSystem = {
  async open(path, flags, mode) {
    const handle = await promises.open(path, flags, mode)
    return {
      write: async (bytes, offset) => (await handle.write(bytes, offset)).bytesWritten,
      readAll: () => handle.readFile(),
      async readAt(offset, length) {
        const bytes = Buffer.allocUnsafe(length)
        let filled = 0
        while (filled < length) {
          const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled)
          if (bytesRead === 0) break
          filled += bytesRead
        }
        return bytes.subarray(0, filled)
      },
      facts: async () => factsOf(await handle.stat()),
      setMode: (wanted) => handle.chmod(wanted),
      setOwner: (owner, group) => handle.chown(owner, group),
      setSize: (bytes) => handle.truncate(bytes),
      sync: () => handle.sync(),
      syncData: () => handle.datasync(),
      close: () => handle.close(),
    }
  },
  facts: async (path) => factsOf(await promises.stat(path)),
  readLink: (path) => promises.readlink(path),
  realPath: (path) => promises.realpath(path),
  list: (directory) => promises.readdir(directory),
  rename: (from, to) => promises.rename(from, to),
  link: (from, to) => promises.link(from, to),
  remove: (path) => promises.unlink(path),
  makeDirectory: (path, mode) => promises.mkdir(path, mode),
  setMode: (path, mode) => promises.chmod(path, mode),
}

export const openFlags = {
  /** A new file that nobody else has, through no link. */
  create: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
  /** A file that grows only at its end; made when it is not there. */
  append: constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0),
  /** Not blocking, or opening a named pipe would hang a thread. */
  read: constants.O_RDONLY | (constants.O_NONBLOCK ?? 0),
} as const

interface NodeStats {
  isFile(): boolean
  isDirectory(): boolean
  dev: number
  ino: number
  size: number
  mtimeMs: number
  mode: number
  uid: number
  gid: number
}

function factsOf(stats: NodeStats): FileFacts {
  return {
    kind: stats.isFile() ? "file" : stats.isDirectory() ? "directory" : "other",
    device: stats.dev,
    inode: stats.ino,
    size: stats.size,
    modifiedMs: stats.mtimeMs,
    mode: stats.mode & 0o777,
    owner: stats.uid,
    group: stats.gid,
  }
}
