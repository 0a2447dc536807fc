import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"
import { isIcon } from "./icons.ts"
import { dataKeywords, nameMaps } from "./schema-bounds.ts"
import { cleanText, isTainted } from "./texts.ts"

/** An item fit to be shown, and the fields of which something was taken away or that hold what cannot be. */
export interface Tidied<T> {
  readonly item: T
  readonly flaws: readonly string[]
}

const schemaTexts = new Set(["title", "description", "$comment", "markdownDescription"])

/**
 * Takes characters nobody sees and terminals obey out of everything a person or a model is shown of a list item, and
 * drops icons that are more than images. What has none of it comes back as the same object. The item's depth must be
 * bounded. `texts`: which of its fields are shown, besides title and description.
 */
export function tidyItem<T extends JsonObject>(raw: T, texts: readonly string[] = []): Tidied<T> {
  const flaws: string[] = []
  const changes = shownChanges(raw, texts, flaws)
  const { annotations, arguments: parameters } = raw
  if (isJsonObject(annotations) && typeof annotations["title"] === "string") {
    const title = shown(annotations["title"], "annotations.title", flaws)
    if (title !== annotations["title"]) changes["annotations"] = { ...annotations, title }
  }
  if (Array.isArray(parameters)) {
    const found: string[] = []
    const tidied = (parameters as JsonObject[]).map((one) => changed(one, shownChanges(one, [], found)))
    if (tidied.some((one, at) => one !== parameters[at])) changes["arguments"] = tidied
    if (found.length > 0) flaws.push("arguments")
  }
  for (const key of ["inputSchema", "outputSchema"]) {
    const schema = raw[key]
    if (!isJsonObject(schema)) continue
    const found: string[] = []
    keep(changes, key, schema, tidySchema(schema, found))
    if (found.length > 0)
      flaws.push(found.includes("data") ? `${key} (also in names and values, where they stay)` : key)
  }
  return { item: changed(raw, changes), flaws }
}

/** What a server says of itself, likewise; an address that is no web page is dropped. */
export function tidyInfo(raw: JsonObject): Tidied<JsonObject> {
  const flaws: string[] = []
  const changes = shownChanges(raw, ["name", "version"], flaws)
  const { websiteUrl } = raw
  if (websiteUrl !== undefined && !/^https?:$/.test(URL.parse(String(websiteUrl))?.protocol ?? "")) {
    flaws.push("websiteUrl")
    changes["websiteUrl"] = undefined
  }
  return { item: changed(raw, changes), flaws }
}

function shownChanges(raw: JsonObject, texts: readonly string[], flaws: string[]): JsonObject {
  const changes: JsonObject = {}
  for (const key of ["title", "description", ...texts]) {
    const text = raw[key]
    if (typeof text === "string") keep(changes, key, text, shown(text, key, flaws))
  }
  const { icons } = raw
  if (icons === undefined) return changes
  const kept = Array.isArray(icons) ? (icons as unknown[]).filter(isIcon) : []
  if (Array.isArray(icons) && kept.length === icons.length) return changes
  flaws.push("icons")
  changes["icons"] = kept
  return changes
}

/** The same object where nothing changes; a change to undefined takes the field away. */
function changed<T extends JsonObject>(raw: T, changes: JsonObject): T {
  const keys = Object.keys(changes)
  if (keys.length === 0) return raw
  const copy: JsonObject = { ...raw, ...changes }
  for (const key of keys) if (copy[key] === undefined) delete copy[key]
  return copy as T
}

function keep(changes: JsonObject, key: string, before: unknown, after: unknown): void {
  if (after !== before) changes[key] = after
}

function shown(text: string, place: string, flaws: string[]): string {
  if (isTainted(text)) flaws.push(place)
  return cleanText(text)
}

/** Copies what it changes; names of properties and values are compared with arguments and stay as they are. */
function tidySchema(value: unknown, found: string[], part: "schema" | "names" | "data" = "schema"): unknown {
  if (typeof value === "string" && part === "data" && isTainted(value)) found.push("data")
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) {
    const items = (value as unknown[]).map((item) => tidySchema(item, found, part))
    return items.some((item, at) => item !== (value as unknown[])[at]) ? items : value
  }
  const changes: JsonObject = {}
  for (const [key, inner] of Object.entries(value)) {
    if (isTainted(key)) found.push("data")
    if (part === "schema" && schemaTexts.has(key) && typeof inner === "string")
      keep(changes, key, inner, shown(inner, key, found))
    else keep(changes, key, inner, tidySchema(inner, found, partOf(part, key)))
  }
  return changed(value as JsonObject, changes)
}

function partOf(part: "schema" | "names" | "data", key: string): "schema" | "names" | "data" {
  if (part === "names") return "schema"
  if (part === "data" || dataKeywords.has(key)) return "data"
  return nameMaps.has(key) ? "names" : "schema"
}
