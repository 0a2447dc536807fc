import { errorTable, manifestSchema, type JsonObject } from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { Operation } from "./operation.ts"
import { eachOperation } from "./operations/table.ts"
import { routes, streamRoutes, type Route } from "./routes.ts"
import { jsonSchemaOf } from "./schema.ts"
import * as shapes from "./shapes/output.ts"

/** Shapes that occur in several answers, described once. */
const named: readonly (readonly [string, v.GenericSchema])[] = [
  ["Manifest", manifestSchema],
  ["Summary", shapes.summaryShape],
  ["Service", shapes.serviceShape],
  ["Interface", shapes.interfaceShape],
  ["Event", shapes.eventShape],
  ["LogLine", shapes.logLineShape],
]

/** The HTTP surface as OpenAPI 3.1, made from the table of operations. */
export function openApiDocument(): JsonObject {
  const paths: Record<string, Record<string, unknown>> = {}
  const put = (method: string, path: string, entry: unknown) => {
    const at = path.replace(/:(\w+)/g, "{$1}")
    paths[at] = { ...paths[at], [method.toLowerCase()]: entry }
  }
  for (const [name, operation] of eachOperation()) {
    if (operation.route === undefined) continue
    const { method, path, also }: Route = routes[operation.route]
    put(method, path, describe(name, operation, method, path))
    if (also !== undefined) put(also, path, describe(`${name}ByQuery`, operation, also, path))
  }
  put("GET", streamRoutes.events.path, {
    operationId: "followEvents",
    summary: "Everything that happens, as server-sent events: the last ones first, then each new one.",
    parameters: [
      { name: "limit", in: "query", schema: { type: "integer", minimum: 0, maximum: 2000, default: 100 } },
      { name: "Last-Event-ID", in: "header", schema: { type: "string" } },
    ],
    responses: {
      200: { description: "A stream without end.", content: { "text/event-stream": {} } },
      default: failure,
    },
    "x-clarity-scope": "read",
  })
  const schemas = Object.fromEntries(named.map(([name, schema]) => [name, jsonSchemaOf(schema, "input")]))
  return {
    openapi: "3.1.0",
    info: {
      title: "Clarity Runtime",
      version: "1",
      description: "Inputs may be written in camelCase or snake_case. Lists are newest first.",
    },
    security: [{ bearer: [] }, { header: [] }, {}],
    paths,
    components: {
      schemas: { ...schemas, Error: errorSchema },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        header: { type: "apiKey", in: "header", name: "x-clarity-token" },
      },
    },
  }
}

const failure = {
  description: "What went wrong, in words and as a code.",
  content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
}

const errorSchema = {
  type: "object",
  properties: {
    error: { type: "string" },
    code: { enum: Object.keys(errorTable) },
    retryable: { type: "boolean" },
  },
  required: ["error"],
}

function describe(operationId: string, operation: Operation, method: string, path: string): JsonObject {
  const { properties = {}, required = [] } = jsonSchemaOf(operation.input, "input") as {
    properties?: Record<string, JsonObject>
    required?: string[]
  }
  const inPath = [...path.matchAll(/:(\w+)/g)].map(([, name]) => name ?? "")
  const rest = Object.entries(properties).filter(([name]) => !inPath.includes(name))
  const parameters = inPath.map((name) => ({ name, in: "path", required: true, schema: properties[name] ?? {} }))
  const query = rest.map(([name, schema]) => ({ name, in: "query", required: required.includes(name), schema }))
  const body = {
    content: {
      "application/json": {
        schema: {
          type: "object",
          properties: Object.fromEntries(
            rest.map(([name, schema]) => [name, name === "manifest" ? manifestRef : schema]),
          ),
          required: required.filter((name) => !inPath.includes(name)),
          additionalProperties: false,
        },
      },
    },
    required: required.some((name) => !inPath.includes(name)),
  }
  return {
    operationId,
    summary: operation.title,
    description: operation.summary,
    ...(method === "GET" ? { parameters: [...parameters, ...query] } : { parameters }),
    ...(method === "GET" || rest.length === 0 ? {} : { requestBody: body }),
    responses: {
      200: {
        description: "Done.",
        content: {
          "application/json": { schema: answerSchema(operation.output) },
          ...(path === streamRoutes.logs.path ? { "text/event-stream": {} } : {}),
        },
      },
      default: failure,
    },
    "x-clarity-scope": operation.scope,
  }
}

const manifestRef = { $ref: "#/components/schemas/Manifest" }

/** An answer's schema with the named shapes as references. */
function answerSchema(schema: v.GenericSchema): JsonObject {
  const known = new Map(named.map(([name, shape]) => [JSON.stringify(jsonSchemaOf(shape, "output")), name]))
  const refer = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(refer)
    if (typeof node !== "object" || node === null) return node
    const name = known.get(JSON.stringify(node))
    if (name !== undefined) return { $ref: `#/components/schemas/${name}` }
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, refer(value)]))
  }
  return refer(jsonSchemaOf(schema, "output")) as JsonObject
}
