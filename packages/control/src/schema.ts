import { toJsonSchema } from "@valibot/to-json-schema"
import type { JsonObject } from "@clarity-runtime/contracts"
import type * as v from "valibot"

/** A valibot schema as JSON Schema 2020-12, without what JSON Schema cannot say. */
export function jsonSchemaOf(schema: v.GenericSchema, mode: "input" | "output"): JsonObject {
  const { $schema: _, ...body } = toJsonSchema(schema, {
    typeMode: mode,
    target: "draft-2020-12",
    errorMode: "ignore",
    ignoreActions: ["check"],
    overrideSchema: ({ valibotSchema, jsonSchema }) =>
      valibotSchema.type === "custom" ? { ...jsonSchema, type: "object" } : undefined,
  })
  return body as JsonObject
}

/** `logLimit` as 0.9 wrote it and as tools publish it: `log_limit`; a service's `id` is its `service_id`. */
export function snakeName(key: string): string {
  return key === "id" ? "service_id" : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
