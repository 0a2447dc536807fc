import { ClarityError } from "@clarity-runtime/contracts"

export interface Token {
  /** A word, `->`, one other character, or `text` for a string literal. */
  readonly text: string
  readonly kind: "word" | "mark" | "text"
  /** 1-based. */
  readonly line: number
  /** The literal's text, for `text` tokens without interpolation. */
  readonly value?: string
}

export interface Tokens {
  readonly tokens: readonly Token[]
  /** Whole-line comments by line, without their slashes. */
  readonly comments: ReadonlyMap<number, string>
}

/** Bytes of one source file, and nesting of interpolations in it. */
export const sourceBounds = { bytes: 1024 * 1024, nesting: 64 } as const

const word = /[\p{L}_][\p{L}\p{N}_]*/uy
const number = /[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y

/** Cuts Clarity source into tokens. Throws ClarityError naming the line of a text that never ends. */
export function tokenize(source: string): Tokens {
  const tokens: Token[] = []
  const comments = new Map<number, string>()
  let at = 0
  let line = 1
  let lastTokenLine = 0

  const fail = (problem: string, where: number) =>
    new ClarityError("invalid_manifest", `the source cannot be read: line ${where}: ${problem}`)

  /** Skips a string literal whose quote starts at `at`. */
  const skipText = (nesting: number): string | undefined => {
    const begin = line
    const quote = source.startsWith('"""', at) ? '"""' : '"'
    at += quote.length
    let value: string | undefined = ""
    for (;;) {
      if (at >= source.length || (quote === '"' && source[at] === "\n")) throw fail("a text has no end", begin)
      if (source.startsWith(quote, at)) break
      if (source.startsWith("${", at)) {
        value = undefined
        at += 2
        skipInterpolation(nesting + 1)
      } else {
        const length = source[at] === "\\" && quote === '"' ? 2 : 1
        if (length === 2) value = undefined
        else if (value !== undefined) value += source[at]
        if (source[at] === "\n") line += 1
        at += length
      }
    }
    at += quote.length
    return value
  }

  /** Skips code up to the brace that closes an interpolation. */
  const skipInterpolation = (nesting: number): void => {
    const begin = line
    if (nesting > sourceBounds.nesting) throw fail("texts are nested too deeply", begin)
    for (let depth = 1; depth > 0;) {
      if (at >= source.length) throw fail("an interpolation has no end", begin)
      const char = source[at]
      if (char === '"') skipText(nesting)
      else {
        if (char === "{") depth += 1
        else if (char === "}") depth -= 1
        else if (char === "\n") line += 1
        at += 1
      }
    }
  }

  const push = (kind: Token["kind"], text: string, startLine: number, value?: string) => {
    lastTokenLine = line
    tokens.push({ kind, text, line: startLine, ...(value === undefined ? {} : { value }) })
  }

  while (at < source.length) {
    const char = source[at] ?? ""
    if (char === "\n") {
      line += 1
      at += 1
    } else if (/\s/.test(char)) at += 1
    else if (source.startsWith("//", at)) {
      const end = source.indexOf("\n", at)
      const comment = source.slice(at, end < 0 ? source.length : end)
      if (lastTokenLine !== line) comments.set(line, comment.replace(/^\/+ ?/, "").trimEnd())
      at += comment.length
    } else if (char === '"') {
      const begin = line
      const value = skipText(0)
      push("text", "text", begin, value)
    } else {
      word.lastIndex = at
      number.lastIndex = at
      const name = word.exec(source)?.[0]
      const digits = name === undefined ? number.exec(source)?.[0] : undefined
      const text = name ?? digits ?? (source.startsWith("->", at) ? "->" : char)
      at += text.length
      push(name === undefined ? "mark" : "word", text, line)
    }
  }
  return { tokens, comments }
}
