import { isJsonObject, type JsonObject, type McpResult } from "@clarity-runtime/contracts"

/** Results of the modern era as a legacy client takes them: no result type, no cache hints, object roots only. */
export function legacyResult(method: string, result: McpResult): McpResult {
  const { resultType: _type, ttlMs: _ttl, cacheScope: _scope, ...rest } = result
  if (method === "tools/call" && "structuredContent" in rest && !isJsonObject(rest["structuredContent"])) {
    return { ...rest, structuredContent: { result: rest["structuredContent"] } }
  }
  if (method === "tools/list" && Array.isArray(rest["tools"])) return { ...rest, tools: rest["tools"].map(legacyTool) }
  return rest
}

const shaped = new WeakMap<object, JsonObject>()

/** Before 2026-07-28 an output schema's root is an object: any other is put under `result`, as its values are. */
function legacyTool(tool: JsonObject): JsonObject {
  const schema = tool["outputSchema"]
  if (!isJsonObject(schema) || schema["type"] === "object") return tool
  let made = shaped.get(tool)
  if (made === undefined) {
    const { $schema, $defs, definitions, ...inner } = schema
    const hoisted = Object.fromEntries(
      Object.entries({ $schema, $defs, definitions }).filter(([, value]) => value !== undefined),
    )
    made = {
      ...tool,
      outputSchema: { ...hoisted, type: "object", properties: { result: inner }, required: ["result"] },
    }
    shaped.set(tool, made)
  }
  return made
}
