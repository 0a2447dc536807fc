import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"

const plain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/
const sentinel = /^=\?base64\?.*\?=$/
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** As `Mcp-Name` and `Mcp-Param-*` carry a value: itself, or Base64 between markers (MCP 2026-07-28, HTTP binding). */
function encoded(value: string): string {
  if (value === "" || (plain.test(value) && !sentinel.test(value))) return value
  return `=?base64?${Buffer.from(value, "utf8").toString("base64")}?=`
}

const nameKeys: Readonly<Record<string, string>> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
  "tasks/get": "taskId",
  "tasks/update": "taskId",
  "tasks/cancel": "taskId",
}

interface HeaderParameter {
  readonly header: string
  readonly path: readonly string[]
}

/** The headers a request of 2026-07-28 has over HTTP and had not over stdio. */
export interface ToolHeaders {
  of(method: string, params: JsonObject): Record<string, string>
  /** Remembers which arguments of which tools are mirrored into headers, from a result of `tools/list`. */
  learn(result: unknown): void
}

export function createToolHeaders(): ToolHeaders {
  const parametersOf = new Map<string, readonly HeaderParameter[]>()
  return {
    of(method, params) {
      const headers: Record<string, string> = { "mcp-method": method }
      const name = params[nameKeys[method] ?? ""]
      if (typeof name === "string") headers["mcp-name"] = encoded(name)
      if (method !== "tools/call" || typeof name !== "string") return headers
      for (const { header, path } of parametersOf.get(name) ?? []) {
        let value = params["arguments"]
        for (const key of path) value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
        if (typeof value === "string") headers[`mcp-param-${header}`] = encoded(value)
        else if (typeof value === "number" || typeof value === "boolean") headers[`mcp-param-${header}`] = String(value)
      }
      return headers
    },
    learn(result) {
      const tools = isJsonObject(result) && Array.isArray(result["tools"]) ? result["tools"] : []
      for (const tool of tools) {
        if (!isJsonObject(tool) || typeof tool["name"] !== "string") continue
        const parameters = annotated(tool["inputSchema"], [])
        if (parameters.length > 0) parametersOf.set(tool["name"], parameters)
        else parametersOf.delete(tool["name"])
      }
    },
  }
}

function annotated(schema: unknown, path: readonly string[]): HeaderParameter[] {
  if (!isJsonObject(schema) || !isJsonObject(schema["properties"]) || path.length > 16) return []
  return Object.entries(schema["properties"]).flatMap(([key, property]) => {
    if (!isJsonObject(property)) return []
    const header = property["x-mcp-header"]
    const own = typeof header === "string" && token.test(header) ? [{ header, path: [...path, key] }] : []
    return [...own, ...annotated(property, [...path, key])]
  })
}
