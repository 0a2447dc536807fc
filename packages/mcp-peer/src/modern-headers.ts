import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"

const plain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/
const sentinel = /^=\?base64\?.*\?=$/
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/**
 * A value as `Mcp-Name` and `Mcp-Param-*` carry it (MCP 2026-07-28, HTTP binding): itself when printable ASCII without
 * outer blanks, else Base64 of its UTF-8 between `=?base64?` and `?=`; so also when it looks like that already.
 */
export function encodeHeaderValue(value: string): string {
  if (value === "" || (plain.test(value) && !sentinel.test(value))) return value
  return `=?base64?${Buffer.from(value, "utf8").toString("base64")}?=`
}

const nameKeys: Record<string, string> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
  "tasks/get": "taskId",
  "tasks/update": "taskId",
  "tasks/cancel": "taskId",
}

/** An argument that a tool wants mirrored into a header, and where in the arguments it lies. */
export interface HeaderParameter {
  readonly header: string
  readonly path: readonly string[]
}

/** The MCP headers of one modern request over HTTP. */
export function modernHeaders(
  method: string,
  params: JsonObject,
  parameters: readonly HeaderParameter[] | undefined,
  trace: Readonly<Record<string, string>>,
): Record<string, string> {
  const headers: Record<string, string> = { ...trace, "Mcp-Method": method }
  const nameKey = nameKeys[method]
  const name = nameKey === undefined ? undefined : params[nameKey]
  if (typeof name === "string") headers["Mcp-Name"] = encodeHeaderValue(name)
  if (parameters)
    for (const { header, path } of parameters) {
      let value: unknown = params["arguments"]
      for (const key of path) value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
      if (typeof value === "string") headers[`Mcp-Param-${header}`] = encodeHeaderValue(value)
      else if (typeof value === "boolean" || typeof value === "number") headers[`Mcp-Param-${header}`] = String(value)
    }
  return headers
}

const maxNodes = 20_000

/**
 * The `x-mcp-header` annotations of a tool's input schema. A string is what is wrong with them: such a tool must not
 * be called over HTTP (MCP 2026-07-28, custom headers from tool parameters).
 */
export function headerParameters(inputSchema: JsonObject): readonly HeaderParameter[] | string {
  const found: HeaderParameter[] = []
  const seen = new Set<string>()
  let nodes = 0
  let reachable = 0

  function visit(schema: JsonObject, path: readonly string[]): string | undefined {
    if (path.length > 0 && "x-mcp-header" in schema) {
      const name = schema["x-mcp-header"]
      reachable++
      if (typeof name !== "string" || !token.test(name)) return `x-mcp-header of ${path.join(".")} is no header name`
      if (!["string", "integer", "boolean"].includes(schema["type"] as string))
        return `x-mcp-header of ${path.join(".")} needs type string, integer or boolean`
      if (seen.has(name.toLowerCase())) return `x-mcp-header ${name} is used twice`
      seen.add(name.toLowerCase())
      found.push({ header: name, path })
    }
    const { properties } = schema
    if (!isJsonObject(properties)) return undefined
    for (const [key, inner] of Object.entries(properties)) {
      if (!isJsonObject(inner)) continue
      if (++nodes > maxNodes) return "the input schema is too large"
      const wrong = visit(inner, [...path, key])
      if (wrong) return wrong
    }
    return undefined
  }

  const wrong = visit(inputSchema, [])
  if (wrong) return wrong
  return countAnnotations(inputSchema) > reachable ? "x-mcp-header stands where only plain properties lead" : found
}

/** Annotations anywhere in the schema, whatever leads there; names of properties are not annotations. */
function countAnnotations(schema: JsonObject): number {
  let count = 0
  const stack: { value: unknown; names: boolean }[] = [{ value: schema, names: false }]
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { value, names } = item
    if (Array.isArray(value)) {
      for (const inner of value) stack.push({ value: inner, names: false })
    } else if (isJsonObject(value)) {
      if (!names && "x-mcp-header" in value) count++
      for (const [key, inner] of Object.entries(value)) {
        if (!names && ["const", "enum", "default", "examples"].includes(key)) continue
        stack.push({ value: inner, names: !names && mapsNames.has(key) })
      }
    }
  }
  return count
}

const mapsNames = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
