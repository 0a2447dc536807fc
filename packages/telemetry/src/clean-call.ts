import { isJsonObject, ownText, type JsonObject } from "@clarity-runtime/contracts"
import { isPlainName } from "./bounded-copy.ts"
import { oneLine } from "./one-line.ts"
import { isSecretName } from "./redact.ts"

/** What of an event may need cleaning. */
export interface Cleanable {
  readonly level: string
  readonly message: string
  readonly serviceId?: string | undefined
  readonly data?: JsonObject | undefined
}

const levels = new Set(["info", "warn", "error"])
const maxKnown = 2048
const longest = 256

/**
 * Tells of small events whether cleaning would leave them as they are: most do, and a copy of each costs more than the
 * look. The same few names come again and again, so texts once found clean are remembered, up to a bound.
 */
export function createCleanCheck(): (event: Cleanable) => boolean {
  let texts = new Set<string>()
  let names = new Set<string>()

  function isCleanText(text: string): boolean {
    return text.length <= longest && oneLine(text, 3 * longest) === text
  }

  function isKnown(text: string): boolean {
    if (texts.has(text)) return true
    if (!isCleanText(text)) return false
    if (texts.size >= maxKnown) texts = new Set()
    texts.add(ownText(text))
    return true
  }

  function isKnownName(name: string): boolean {
    if (names.has(name)) return true
    if (!isPlainName(name) || isSecretName(name) || name === "__proto__") return false
    if (names.size >= maxKnown) names = new Set()
    names.add(ownText(name))
    return true
  }

  function isCleanObject(data: JsonObject, depth: number): boolean {
    for (const key in data) {
      if (!isKnownName(key)) return false
      const value = data[key]
      switch (typeof value) {
        case "string":
          // Each call has another one.
          if (!(key === "requestId" ? isCleanText(value) : isKnown(value))) return false
          break
        case "number":
          if (!Number.isFinite(value)) return false
          break
        case "boolean":
          break
        default:
          if (depth > 0 || !Array.isArray(value)) return false
          for (const item of value) if (!isJsonObject(item) || !isCleanObject(item, 1)) return false
      }
    }
    return true
  }

  return ({ level, message, serviceId, data }) =>
    levels.has(level) &&
    isKnown(message) &&
    (serviceId === undefined || isKnown(serviceId)) &&
    (data === undefined || isCleanObject(data, 0))
}
