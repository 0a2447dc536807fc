import { GuestFault } from "./fault.ts"

/**
 * What one host function may build on the host's side, where the module's own memory is no limit. Together they keep a
 * thread's heap well below its limit: V8 can end the whole process, not only the thread, when that is reached.
 */
export const hostBounds = { textBytes: 16 * 1024 * 1024, pieces: 1_000_000, jsonValues: 500_000 }

export function checkText(bytes: number): void {
  if (bytes > hostBounds.textBytes)
    throw new GuestFault(`memory limit: a text of ${bytes} bytes is more than the host works with (16 MiB)`)
}

/** Refuses to cut a text into too many pieces, before they are made. */
export function checkPieces(text: string, separators: string): void {
  if (text.length < hostBounds.pieces) return
  if (separators === "") throw tooManyPieces()
  let pieces = 1
  for (let at = text.indexOf(separators); at >= 0; at = text.indexOf(separators, at + separators.length))
    if (++pieces > hostBounds.pieces) throw tooManyPieces()
}

export function tooManyPieces(): GuestFault {
  return new GuestFault(`memory limit: a text falls into more than ${hostBounds.pieces} pieces`)
}

/** Refuses a JSON text with too many values, before it is parsed: each takes many times its length. */
export function checkJson(text: string): void {
  if (text.length < hostBounds.jsonValues) return
  let values = 1
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    const begins = unit === 0x2c || unit === 0x3a || unit === 0x5b || unit === 0x7b // , : [ {
    if (begins && ++values > hostBounds.jsonValues)
      throw new GuestFault(`memory limit: a JSON text has more than ${hostBounds.jsonValues} values`)
  }
}
