import { ClarityError } from "@clarity-runtime/contracts"
import { openFlags, type FileFacts, type FileSystem } from "./file-system.ts"
import { isErrno } from "./storage-error.ts"

/** A whole file, or undefined when there is none. Throws errno errors, and ClarityError when it is larger than allowed. */
export async function readBounded(
  fs: FileSystem,
  place: string,
  maxBytes: number,
): Promise<{ bytes: Uint8Array; facts: FileFacts } | undefined> {
  let file
  try {
    file = await fs.open(place, openFlags.read)
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined
    throw error
  }
  try {
    const facts = await file.facts()
    if (facts.kind !== "file") throw new ClarityError("storage_error", `${place} is not a regular file`)
    if (facts.size > maxBytes)
      throw new ClarityError("storage_error", `${place} is larger than ${maxBytes} bytes: refused unread`)
    return { bytes: await file.readAll(), facts }
  } finally {
    await file.close()
  }
}
