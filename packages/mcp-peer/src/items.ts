import {
  isJsonObject,
  type JsonObject,
  type Prompt,
  type Resource,
  type ResourceTemplate,
  type Tool,
} from "@clarity-runtime/contracts"
import { schemaIssue } from "./schema-bounds.ts"
import { cleanText, hasUnseen } from "./texts.ts"
import { tidyItem, type Tidied } from "./tidy.ts"

/** Bounds of one listed item (security reference 2.2). */
const maxTextBytes = 8192
const maxDepth = 64
const maxNodes = 20_000
const maxItemBytes = 524_288
const maxUri = 8192

/** An item as it is but for what must not be shown, or why it is left out. */
export type Checked<T> = Tidied<T> | { readonly reason: string }

export function checkTool(raw: JsonObject): Checked<Tool> {
  const { name, inputSchema, outputSchema, annotations } = raw
  const wrongName = nameIssue(name)
  if (wrongName) return { reason: wrongName }
  if (!isJsonObject(inputSchema) || inputSchema["type"] !== "object")
    return { reason: "inputSchema is not an object schema" }
  if (outputSchema !== undefined && !isJsonObject(outputSchema)) return { reason: "outputSchema is not an object" }
  if (annotations !== undefined && !isJsonObject(annotations)) return { reason: "annotations is not an object" }
  const reason =
    sizeIssue(raw) ?? schemaReason("inputSchema", inputSchema) ?? schemaReason("outputSchema", outputSchema)
  return reason ? { reason } : tidyItem(raw as Tool)
}

export function checkPrompt(raw: JsonObject): Checked<Prompt> {
  const wrongName = nameIssue(raw["name"])
  if (wrongName) return { reason: wrongName }
  const given = raw["arguments"]
  if (given !== undefined && !(Array.isArray(given) && given.every(isJsonObject)))
    return { reason: "arguments is not a list of objects" }
  const reason = sizeIssue(raw)
  return reason ? { reason } : tidyItem(raw as Prompt)
}

export function checkResource(raw: JsonObject): Checked<Resource> {
  const reason = uriIssue("uri", raw["uri"]) ?? sizeIssue(raw)
  return reason ? { reason } : tidyItem(raw as Resource, ["name"])
}

export function checkTemplate(raw: JsonObject): Checked<ResourceTemplate> {
  const reason = uriIssue("uriTemplate", raw["uriTemplate"]) ?? sizeIssue(raw)
  return reason ? { reason } : tidyItem(raw as ResourceTemplate, ["name"])
}

function nameIssue(name: unknown): string | undefined {
  if (typeof name !== "string" || name === "") return "name is not a text"
  if (name.length > 128) return "name is longer than 128 characters"
  return reserved.has(name) || hasUnseen(name) ? "name has characters that are not allowed" : undefined
}

/** Names that objects of JavaScript have from birth. */
const reserved = new Set(["__proto__", "constructor", "prototype"])

function uriIssue(key: string, uri: unknown): string | undefined {
  if (typeof uri !== "string" || uri === "") return `${key} is not a text`
  if (uri.length > maxUri) return `${key} is longer than ${maxUri} characters`
  return cleanText(uri) !== uri || /[\t\n]/.test(uri) ? `${key} has characters that are not allowed` : undefined
}

function sizeIssue(raw: JsonObject): string | undefined {
  for (const key of ["description", "title"]) {
    const text = raw[key]
    if (key === "description" && text !== undefined && typeof text !== "string") return `${key} is not a text`
    if (typeof text === "string" && Buffer.byteLength(text) > maxTextBytes)
      return `${key} is longer than ${maxTextBytes} bytes`
  }
  if (shapeIssue(raw)) return "it is nested too deeply or has too many parts"
  return JSON.stringify(raw).length > maxItemBytes ? `it is larger than ${maxItemBytes} bytes` : undefined
}

function schemaReason(key: string, schema: JsonObject | undefined): string | undefined {
  const issue = schema && schemaIssue(schema)
  return issue && `${key} ${issue}`
}

/** Walks without recursion: the depth is the attacker's. */
function shapeIssue(value: unknown): boolean {
  let nodes = 0
  const stack: { value: unknown; depth: number }[] = [{ value, depth: 0 }]
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { value, depth } = next
    if (typeof value !== "object" || value === null) continue
    if (depth > maxDepth || ++nodes > maxNodes) return true
    for (const inner of Object.values(value)) stack.push({ value: inner, depth: depth + 1 })
  }
  return false
}
