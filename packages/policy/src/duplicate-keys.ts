/**
 * The first key that stands twice in one object of a valid JSON text, where `JSON.parse` would silently keep the last:
 * two merged halves of a rules file must not lose the rules of one.
 */
export function duplicateKey(text: string): string | undefined {
  /** Keys seen in each open object; undefined for an array. */
  const open: (Set<string> | undefined)[] = []
  let keyNext = false
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/gs)) {
    if (token === "{" || token === "[") open.push(token === "{" ? new Set() : undefined)
    else if (token === "}" || token === "]") open.pop()
    else if (token !== "," && keyNext) {
      const key = JSON.parse(token) as string
      if (open.at(-1)?.has(key) === true) return key
      open.at(-1)?.add(key)
    }
    keyNext = token === "{" || (token === "," && open.at(-1) !== undefined)
  }
  return undefined
}
