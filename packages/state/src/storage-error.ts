import { ClarityError } from "@clarity-runtime/contracts"

const words: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EBUSY: "it is in use",
  EDQUOT: "the disk quota is used up",
  EEXIST: "it exists already",
  EFBIG: "the file would be too large",
  EINTR: "interrupted",
  EIO: "the disk reports an input/output error",
  EISDIR: "it is a directory",
  ELOOP: "too many symbolic links",
  EMFILE: "too many open files",
  ENAMETOOLONG: "the name is too long",
  ENFILE: "too many open files on this machine",
  ENOENT: "no such file or directory",
  ENOSPC: "no space left on the disk",
  ENOTDIR: "a part of the path is not a directory",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
}

/** The errno of anything thrown, such as `ENOSPC`; undefined when it has none. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined
  return typeof thrown.code === "string" ? thrown.code : undefined
}

/** True when what was thrown carries one of these errnos. */
export function isErrno(thrown: unknown, ...codes: readonly string[]): boolean {
  const errno = errnoOf(thrown)
  return errno !== undefined && codes.includes(errno)
}

/** `storage_error` saying what was tried, on which file, and why it failed, in words and as errno. ClarityErrors pass. */
export function storageError(action: string, path: string, thrown: unknown): ClarityError {
  if (thrown instanceof ClarityError) return thrown
  const errno = errnoOf(thrown)
  const why = errno === undefined ? "unexpected failure" : `${words[errno] ?? "the system refused"} (${errno})`
  return new ClarityError("storage_error", `cannot ${action} ${path}: ${why}`, {
    cause: thrown,
    data: errno === undefined ? {} : { reason: errno },
  })
}
