import { hash } from "node:crypto"
import type { AuditHead } from "@clarity-runtime/contracts"

/** What stands before the first record there ever was. */
export const genesis: AuditHead = { seq: 0, hash: "0".repeat(64) }

/** A record as it lies in its segment. */
export interface ChainedLine {
  readonly seq: number
  readonly prev: string
  readonly hash: string
  /** The line's hash is that of its content. */
  readonly sound: boolean
}

const ending = /,"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}$/
const endingLength = `,"hash":"`.length + 64 + `"}`.length
const beginning = /^\{"seq":(\d{1,16}),/

/**
 * One line: a JSON object that begins with its number and ends with the hash of the line before and its own, which
 * covers every byte in front of it. `fields` are those of the record as JSON without braces, never none.
 */
export function chain(before: AuditHead, fields: string): { readonly line: string; readonly head: AuditHead } {
  const seq = before.seq + 1
  const covered = `{"seq":${seq},${fields},"prev":"${before.hash}"`
  const own = hash("sha256", covered)
  return { line: `${covered},"hash":"${own}"}\n`, head: { seq, hash: own } }
}

/** Reads a line without its line break; undefined when it is no record at all. */
export function readChained(line: string): ChainedLine | undefined {
  const [, prev, own] = ending.exec(line) ?? []
  const seq = Number(beginning.exec(line)?.[1])
  if (prev === undefined || own === undefined || !Number.isSafeInteger(seq)) return undefined
  return { seq, prev, hash: own, sound: hash("sha256", line.slice(0, -endingLength)) === own }
}
