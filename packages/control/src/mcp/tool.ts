import type { JsonObject, Tool } from "@clarity-runtime/contracts"
import type { ToolOperation } from "../operation.ts"
import { jsonSchemaOf, snakeName } from "../schema.ts"

/** An operation as `tools/list` shows it: inputs in snake_case, as 0.9 named them; camelCase is taken as well. */
export function describeTool(operation: ToolOperation): Tool {
  const { tool, title, summary, input, output } = operation
  return {
    name: tool.name,
    title,
    description: summary,
    inputSchema: inputSchemaOf(jsonSchemaOf(input, "input"), tool.defaults ?? {}),
    outputSchema: jsonSchemaOf(output, "output"),
    annotations: { title, ...tool.annotations },
  }
}

function inputSchemaOf(schema: JsonObject, defaults: Readonly<Record<string, unknown>>): JsonObject {
  const { properties = {}, required = [] } = schema as { properties?: Record<string, JsonObject>; required?: string[] }
  const renamed = Object.entries(properties).map(([key, field]): [string, JsonObject] => [
    snakeName(key),
    key in defaults ? { ...field, default: defaults[key] } : field,
  ])
  return {
    type: "object",
    properties: Object.fromEntries(renamed),
    ...(required.length === 0 ? {} : { required: required.map(snakeName) }),
    additionalProperties: false,
  }
}
