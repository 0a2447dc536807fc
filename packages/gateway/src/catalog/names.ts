import { createHash } from "node:crypto"

/** Longest name a model API takes for a tool. */
export const maxNameLength = 64
const separator = "__"

/** `<namespace>__<name>`; longer than 64 characters it is cut and ends in `_` and 8 hex digits of its hash. */
export function prefixedName(namespace: string, name: string): string {
  return fit(`${namespace}${separator}${name}`)
}

/** A name as it is if it fits, else cut with 8 hex digits of its hash: the same input always gives the same name. */
export function fit(name: string): string {
  if (name.length <= maxNameLength) return name
  const hash = createHash("sha256").update(name, "utf8").digest("hex").slice(0, 8)
  return `${name.slice(0, maxNameLength - 9)}_${hash}`
}
