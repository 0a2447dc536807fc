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
export function checkStructure(text: Buffer, limits: StructureLimits = defaultStructure): void {
  const open: (Keys | undefined)[] = []
  let items = 0
  let start = 0
  let end = 0
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case quote:
        start = at + 1
        at = end = endOfString(text, start)
        break
      case openBrace:
      case openBracket:
        if (open.length >= limits.maxDepth) throw refused(`nested deeper than ${limits.maxDepth} levels`)
        open.push(text[at] === openBrace ? new Keys() : undefined)
        items++
        break
      case closeBrace:
      case closeBracket:
        open.pop()
        break
      case comma:
        items++
        break
      case colon:
        // No text since the last one: no key stands before it, which is the parser's to say.
        if (start > 0 && open.at(-1)?.repeats(text, start, end)) throw refused("an object with the same key twice")
        start = 0
        break
    }
    if (items > limits.maxItems) throw refused(`more than ${limits.maxItems} items`)
  }
}

/** Past this many keys a set finds repetitions faster than looking at each. */
const few = 12

/** The keys of one object so far: places in the text while they are few and plain, decoded names otherwise. */
class Keys {
  readonly #places: number[] = []
  #names: Set<string> | undefined

  repeats(text: Buffer, start: number, end: number): boolean {
    if (this.#names === undefined) {
      if (this.#places.length < few * 2 && !hasEscape(text, start, end)) return this.#repeatsPlace(text, start, end)
      this.#names = new Set()
      for (let i = 0; i < this.#places.length; i += 2) {
        this.#names.add(nameAt(text, this.#places[i] as number, this.#places[i + 1] as number))
      }
    }
    const name = nameAt(text, start, end)
    if (this.#names.has(name)) return true
    this.#names.add(name)
    return false
  }

  #repeatsPlace(text: Buffer, start: number, end: number): boolean {
    const places = this.#places
    for (let i = 0; i < places.length; i += 2) {
      const other = places[i] as number
      if ((places[i + 1] as number) - other !== end - start) continue
      let same = 0
      while (same < end - start && text[other + same] === text[start + same]) same++
      if (same === end - start) return true
    }
    places.push(start, end)
    return false
  }
}

function hasEscape(text: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (text[at] === backslash) return true
  return false
}

function nameAt(text: Buffer, start: number, end: number): string {
  const raw = text.toString("utf8", start, end)
  if (!raw.includes("\\")) return raw
  try {
    return String(JSON.parse(`"${raw}"`))
  } catch {
    return raw // a bad escape: the parser will refuse the whole text
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

function refused(what: string): ClarityError {
  return new ClarityError("invalid_request", `the body has ${what}`, { data: { reason: "structure" } })
}
