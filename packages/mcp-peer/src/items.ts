import {
  isJsonObject,
  type JsonObject,
  type Prompt,
  type Resource,
  type ResourceTemplate,
  type Tool,
} from "@clarity-runtime/contracts"

/** Bounds of one listed item (security reference 2.2). */
const maxDescriptionBytes = 8192
const maxSchemaBytes = 262_144
const maxSchemaDepth = 64
const maxSchemaNodes = 20_000
const maxItemBytes = 524_288
const maxUri = 8192

/** An item as it is, or why it is left out. */
export type Checked<T> = { readonly item: T } | { readonly reason: string }

export function checkTool(raw: JsonObject): Checked<Tool> {
  const { name, inputSchema, outputSchema, annotations } = raw
  const wrongName = nameIssue(name)
  if (wrongName) return { reason: wrongName }
  if (!isJsonObject(inputSchema) || inputSchema["type"] !== "object")
    return { reason: "inputSchema is not an object schema" }
  if (outputSchema !== undefined && !isJsonObject(outputSchema)) return { reason: "outputSchema is not an object" }
  if (annotations !== undefined && !isJsonObject(annotations)) return { reason: "annotations is not an object" }
  const reason = sizeIssue(raw) ?? schemaIssue("inputSchema", inputSchema) ?? schemaIssue("outputSchema", outputSchema)
  return reason ? { reason } : { item: raw as Tool }
}

export function checkPrompt(raw: JsonObject): Checked<Prompt> {
  const wrongName = nameIssue(raw["name"])
  if (wrongName) return { reason: wrongName }
  const given = raw["arguments"]
  if (given !== undefined && !(Array.isArray(given) && given.every(isJsonObject)))
    return { reason: "arguments is not a list of objects" }
  const reason = sizeIssue(raw)
  return reason ? { reason } : { item: raw as Prompt }
}

export function checkResource(raw: JsonObject): Checked<Resource> {
  const reason = uriIssue("uri", raw["uri"]) ?? sizeIssue(raw)
  return reason ? { reason } : { item: raw as Resource }
}

export function checkTemplate(raw: JsonObject): Checked<ResourceTemplate> {
  const reason = uriIssue("uriTemplate", raw["uriTemplate"]) ?? sizeIssue(raw)
  return reason ? { reason } : { item: raw as ResourceTemplate }
}

function nameIssue(name: unknown): string | undefined {
  if (typeof name !== "string" || name === "") return "name is not a text"
  if (name.length > 128) return "name is longer than 128 characters"
  // oxlint-disable-next-line no-control-regex
  return name === "__proto__" || /[\u0000-\u001f\u007f]/.test(name)
    ? "name has characters that are not allowed"
    : undefined
}

function uriIssue(key: string, uri: unknown): string | undefined {
  if (typeof uri !== "string" || uri === "") return `${key} is not a text`
  return uri.length > maxUri ? `${key} is longer than ${maxUri} characters` : undefined
}

function sizeIssue(raw: JsonObject): string | undefined {
  const { description } = raw
  if (description !== undefined && typeof description !== "string") return "description is not a text"
  if (description && Buffer.byteLength(description) > maxDescriptionBytes)
    return `description is longer than ${maxDescriptionBytes} bytes`
  if (shapeIssue(raw)) return "it is nested too deeply or has too many parts"
  return JSON.stringify(raw).length > maxItemBytes ? `it is larger than ${maxItemBytes} bytes` : undefined
}

function schemaIssue(key: string, schema: unknown): string | undefined {
  if (schema === undefined) return undefined
  return JSON.stringify(schema).length > maxSchemaBytes ? `${key} is larger than ${maxSchemaBytes} bytes` : undefined
}

/** Walks without recursion: the depth is the attacker's. */
function shapeIssue(value: unknown): boolean {
  let nodes = 0
  const stack: { value: unknown; depth: number }[] = [{ value, depth: 0 }]
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { value, depth } = next
    if (typeof value !== "object" || value === null) continue
    if (depth > maxSchemaDepth || ++nodes > maxSchemaNodes) return true
    for (const inner of Object.values(value)) stack.push({ value: inner, depth: depth + 1 })
  }
  return false
}
