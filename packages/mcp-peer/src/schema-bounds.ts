import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"

/** Bounds of one schema (security reference 2.2). */
export const maxSchemaBytes = 262_144
export const maxSchemaDepth = 32
export const maxSubschemas = 2000
/** Evaluations that one place in an argument can cause, references followed. */
export const maxExpansion = 100_000

const references = ["$ref", "$dynamicRef", "$recursiveRef"]
/** Keywords whose keys are names of the author's. */
export const nameMaps = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
/** Keywords whose values are data, not schemas. */
export const dataKeywords = new Set(["const", "enum", "default", "examples"])

/**
 * Why a schema is more than anybody should have to evaluate, or sends whoever does elsewhere; undefined when it is
 * neither. References may only stay within the schema (MCP 2026-07-28: nobody follows others). Nothing is recursed
 * into before its depth is known.
 */
export function schemaIssue(schema: JsonObject): string | undefined {
  let subschemas = 0
  const stack: { value: unknown; depth: number; names?: boolean; data?: boolean }[] = [{ value: schema, depth: 1 }]
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { value, depth, names, data } = next
    if (Array.isArray(value)) {
      for (const item of value as unknown[])
        if (isContainer(item)) stack.push({ ...next, value: item })
        else if (!data && typeof item === "boolean") subschemas++
    } else if (isJsonObject(value)) {
      if (!names && !data) {
        subschemas++
        if (depth > maxSchemaDepth) return `is nested more than ${maxSchemaDepth} schemas deep`
      }
      for (const [key, inner] of Object.entries(value)) {
        if (references.includes(key) && typeof inner === "string" && !inner.startsWith("#"))
          return `has a ${key} to something outside itself`
        if (names) stack.push({ value: inner, depth })
        else if (data || dataKeywords.has(key)) stack.push({ value: inner, depth, data: true })
        else if (nameMaps.has(key) && isJsonObject(inner)) stack.push({ value: inner, depth: depth + 1, names: true })
        else stack.push({ value: inner, depth: depth + 1 })
      }
    }
    if (subschemas > maxSubschemas) return `has more than ${maxSubschemas} subschemas`
  }
  if (Buffer.byteLength(JSON.stringify(schema)) > maxSchemaBytes) return `is larger than ${maxSchemaBytes} bytes`
  return expansionOf(schema) > maxExpansion ? "repeats itself through references without bound" : undefined
}

/**
 * How often one place in an argument is looked at: everything a schema applies to the same place adds up, of what it
 * applies to places within, the most expensive counts. A reference back to where it is used counts once.
 */
function expansionOf(root: JsonObject): number {
  const anchors = anchorsOf(root)
  const known = new Map<JsonObject, number>()
  function cost(schema: unknown): number {
    if (!isJsonObject(schema)) return 1
    const before = known.get(schema)
    if (before !== undefined) return before
    known.set(schema, 1)
    let here = 1
    let within = 0
    for (const [key, value] of Object.entries(schema)) {
      if (dataKeywords.has(key)) continue
      if (references.includes(key)) here += typeof value === "string" ? cost(resolved(root, anchors, value)) : 0
      else if (samePlace.has(key)) for (const inner of partsOf(key, value)) here += cost(inner)
      else for (const inner of partsOf(key, value)) within = Math.max(within, cost(inner))
    }
    const total = Math.min(here + within, maxExpansion + 1)
    known.set(schema, total)
    return total
  }
  return cost(root)
}

const samePlace = new Set(["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"])

/** The schemas a keyword holds: one, a list, or a map by name. */
function partsOf(key: string, value: unknown): unknown[] {
  if (Array.isArray(value)) return value as unknown[]
  return nameMaps.has(key) && isJsonObject(value) ? Object.values(value) : [value]
}

function anchorsOf(root: JsonObject): ReadonlyMap<string, JsonObject> {
  const anchors = new Map<string, JsonObject>()
  const stack: unknown[] = [root]
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (Array.isArray(value)) stack.push(...(value as unknown[]).filter(isContainer))
    else if (isJsonObject(value)) {
      for (const key of ["$anchor", "$dynamicAnchor"]) {
        const name = value[key]
        if (typeof name === "string" && !anchors.has(name)) anchors.set(name, value)
      }
      stack.push(...Object.values(value).filter(isContainer))
    }
  }
  return anchors
}

function isContainer(value: unknown): boolean {
  return typeof value === "object" && value !== null
}

/** What a reference within the schema points at; undefined when there is nothing. */
function resolved(root: JsonObject, anchors: ReadonlyMap<string, JsonObject>, reference: string): unknown {
  const fragment = decodedFragment(reference)
  if (fragment === "") return root
  if (!fragment.startsWith("/")) return anchors.get(fragment)
  let found: unknown = root
  for (const step of fragment.slice(1).split("/")) {
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~")
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) return undefined
    found = (found as JsonObject)[key]
  }
  return found
}

function decodedFragment(reference: string): string {
  try {
    return decodeURIComponent(reference.slice(1))
  } catch {
    return reference.slice(1)
  }
}
