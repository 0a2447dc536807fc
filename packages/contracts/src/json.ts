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

type ReviverContext = { source?: string }
type ParseWithSource = (
  text: string,
  reviver: (key: string, value: unknown, context: ReviverContext) => unknown,
) => unknown
const rawJSON = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON

/**
 * `JSON.parse` that gives back every number as it was written: one that a double cannot hold becomes a raw
 * JSON number, which `JSON.stringify` prints digit by digit. Texts without long digit runs take the fast path.
 * Throws SyntaxError.
 */
export function parseJson(text: string): unknown {
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
