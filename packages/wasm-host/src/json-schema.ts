import type { JsonObject } from "@clarity-runtime/contracts"
import { isNullable, type ClarityType, type Field, type FunctionSignature } from "./types.ts"

/** Whether the schema is for what a caller gives or for what it gets. */
type Side = "in" | "out"

const wholeText = "^-?[0-9]{1,19}$"

/** Schema of a function's arguments: one property per parameter, closed; Options may be left out. */
export function inputSchema(signature: FunctionSignature): JsonObject {
  return record(signature.params, "in")
}

/** Schema of `structuredContent`: the value under `result`. */
export function outputSchema(signature: FunctionSignature): JsonObject {
  return record([{ name: "result", type: signature.result }], "out")
}

function record(fields: readonly Field[], side: Side): JsonObject {
  const properties: JsonObject = { __proto__: null }
  for (const { name, type } of fields) properties[name] = schemaOf(type, side)
  const required = fields.filter(({ type }) => side === "out" || type.kind !== "Option").map(({ name }) => name)
  return { type: "object", properties, required, additionalProperties: false }
}

function schemaOf(type: ClarityType, side: Side): JsonObject {
  switch (type.kind) {
    case "Int64":
      return {
        type: ["integer", "string"],
        pattern: wholeText,
        description: "64-bit whole number; as decimal text beyond ±2^53",
      }
    case "Timestamp":
      return side === "out"
        ? { type: ["integer", "string"], pattern: wholeText, description: "Milliseconds since 1970-01-01 UTC" }
        : {
            type: ["integer", "string"],
            description: "Milliseconds since 1970-01-01 UTC, or an ISO 8601 date and time",
          }
    case "Float64":
      return { anyOf: [{ type: "number" }, { enum: ["NaN", "Infinity", "-Infinity"] }] }
    case "Bool":
      return { type: "boolean" }
    case "String":
      return { type: "string" }
    case "Bytes":
      return { type: "string", contentEncoding: "base64" }
    case "Unit":
      return { type: "null" }
    case "List":
      return { type: "array", items: schemaOf(type.element, side) }
    case "Option": {
      const inner = schemaOf(type.inner, side)
      return { anyOf: [isNullable(type.inner) ? tagged("some", inner) : inner, { type: "null" }] }
    }
    case "Result":
      return { oneOf: [tagged("ok", schemaOf(type.ok, side)), tagged("err", schemaOf(type.err, side))] }
    case "Record":
      return record(type.fields, side)
    case "Union":
      return {
        oneOf: type.variants.map(({ name, fields }) =>
          fields.length === 0 ? { const: name } : tagged(name, record(fields, side)),
        ),
      }
    case "Map": {
      const keys = type.key === "String" ? {} : { propertyNames: { pattern: wholeText } }
      return { type: "object", ...keys, additionalProperties: schemaOf(type.value, side) }
    }
  }
}

function tagged(name: string, schema: JsonObject): JsonObject {
  return { type: "object", properties: { [name]: schema }, required: [name], additionalProperties: false }
}
