/** JSON as it crosses the runtime: parsed once at the door, never altered inside. */

export type JsonObject = { [key: string]: unknown }

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

const longRun = 16

/** True when so many digits stand in a row. Such a run covers one index of every 16, so only those are looked at first. */
function hasLongNumber(text: string): boolean {
  for (let at = longRun - 1; at < text.length; at += longRun) {
    if (!isDigit(text.charCodeAt(at))) continue
    let first = at
    let last = at
    while (isDigit(text.charCodeAt(first - 1))) first--
    while (last - first < longRun && isDigit(text.charCodeAt(last + 1))) last++
    if (last - first >= longRun - 1) return true
  }
  return false
}

/** Also false past the ends of a text, where the code is NaN. */
function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

/** Deepest nesting that is parsed: V8 takes a tenth of a second for a mebibyte of brackets, and nothing can write them again. */
export const maxNesting = 1000
const sampled = 13

/** Looks at every thirteenth character first: only a text with far more brackets opened than closed is read to its end. */
function isTooDeep(text: string): boolean {
  let open = 0
  for (let at = 0; at < text.length; at += sampled) {
    const code = text.charCodeAt(at)
    if (isOpening(code)) open++
    else if (open > 0 && isClosing(code)) open--
    if (open > maxNesting / sampled) return depthExceeds(text)
  }
  return false
}

function depthExceeds(text: string): boolean {
  let depth = 0
  let inText = false
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 34) inText = !inText
    else if (code === 92) at++
    else if (inText) continue
    else if (isClosing(code)) depth--
    else if (isOpening(code) && ++depth > maxNesting) return true
  }
  return false
}

const isOpening = (code: number): boolean => code === 91 || code === 123
const isClosing = (code: number): boolean => code === 93 || code === 125

type ReviverContext = { source?: string }
type ParseWithSource = (
  text: string,
  reviver: (key: string, value: unknown, context: ReviverContext) => unknown,
) => unknown
const rawJSON = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON

/**
 * `JSON.parse` that gives back every number as it was written: one that a double cannot hold becomes a raw
 * JSON number, which `JSON.stringify` prints digit by digit. Texts without long digit runs take the fast path.
 * Throws SyntaxError, also for what is nested far deeper than `maxNesting`.
 */
export function parseJson(text: string): unknown {
  if (isTooDeep(text)) throw new SyntaxError(`nested deeper than ${maxNesting}`)
  if (!hasLongNumber(text)) return JSON.parse(text)
  return (JSON.parse as ParseWithSource)(text, (_key, value, context) => {
    if (typeof value !== "number" || context.source === undefined || String(value) === context.source) return value
    return /^-?\d+$/.test(context.source) && !Number.isSafeInteger(value) ? rawJSON(context.source) : value
  })
}

/** JSON with object keys sorted at every level: equal values give equal texts, whatever order they arrived in. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    isJsonObject(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  )
}
