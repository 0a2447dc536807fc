import { ClarityError } from "@clarity-runtime/contracts"

export interface StructureLimits {
  readonly maxDepth: number
  /** Members and elements of the whole text. */
  readonly maxItems: number
}

export const defaultStructure: StructureLimits = { maxDepth: 64, maxItems: 100_000 }

const quote = 0x22
const backslash = 0x5c
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const colon = 0x3a
const comma = 0x2c

/**
 * Bounds a JSON text by one pass over its bytes, before anything is built from it: nesting, number of items, and no
 * object with the same key twice (two readers would disagree on which one counts). It does not check the grammar;
 * the parser does. Throws ClarityError `invalid_request`.
 */
export function checkStructure(bytes: Uint8Array, limits: StructureLimits = defaultStructure): void {
  const text = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const keys: (Set<string> | undefined)[] = []
  let items = 0
  let lastString = 0
  let lastEnd = 0
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case quote: {
        const end = endOfString(text, at + 1)
        lastString = at
        lastEnd = end
        at = end
        break
      }
      case openBrace:
      case openBracket:
        if (keys.length >= limits.maxDepth) throw tooMuch(`nested deeper than ${limits.maxDepth} levels`)
        keys.push(text[at] === openBrace ? new Set() : undefined)
        items++
        break
      case closeBrace:
      case closeBracket:
        keys.pop()
        break
      case comma:
        items++
        break
      case colon: {
        const known = keys.at(-1)
        if (known === undefined) break
        const key = keyText(text, lastString, lastEnd)
        if (known.has(key)) throw tooMuch("an object with the same key twice")
        known.add(key)
        break
      }
    }
    if (items > limits.maxItems) throw tooMuch(`more than ${limits.maxItems} items`)
  }
}

function endOfString(text: Buffer, from: number): number {
  for (let end = text.indexOf(quote, from); end >= 0; end = text.indexOf(quote, end + 1)) {
    let slashes = 0
    while (text[end - 1 - slashes] === backslash && end - 1 - slashes >= from) slashes++
    if (slashes % 2 === 0) return end
  }
  return text.length
}

function keyText(text: Buffer, start: number, end: number): string {
  const raw = text.toString("utf8", start + 1, end)
  if (!raw.includes("\\")) return raw
  try {
    return String(JSON.parse(`"${raw}"`))
  } catch {
    return raw // a bad escape: the parser will refuse the whole text
  }
}

function tooMuch(what: string): ClarityError {
  return new ClarityError("invalid_request", `the body has ${what}`, { data: { reason: "structure" } })
}
