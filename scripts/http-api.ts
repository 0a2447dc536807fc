import { operations, type Operation } from "@clarity-runtime/control"
import type { JsonObject } from "@clarity-runtime/contracts"

interface Field {
  readonly name: string
  readonly where: string
  readonly required: boolean
  readonly schema: JsonObject
}

interface Entry {
  readonly operationId: string
  readonly summary: string
  readonly description?: string
  readonly parameters?: readonly { name: string; in: string; required?: boolean; schema: JsonObject }[]
  readonly requestBody?: {
    readonly content: { readonly "application/json": { readonly schema: JsonObject } }
  }
  readonly "x-clarity-scope": string
}

/** docs/http-api.md from the OpenAPI document and the table of operations behind it. */
export function httpApiPage(document: JsonObject): string {
  const paths = document["paths"] as Record<string, Record<string, Entry>>
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, entry]) => ({ route: `${method.toUpperCase()} ${path}`, entry })),
  )
  const table = all.map(({ route, entry }) => `| \`${route}\` | ${entry["x-clarity-scope"]} | ${sentence(entry)} |`)
  return `${head}
| route | scope | what it does |
| --- | --- | --- |
${table.join("\n")}

${all.map(({ route, entry }) => section(route, entry)).join("\n\n")}

${tools()}
`
}

const head = `# HTTP API

Generated from the table of operations in \`packages/control/src/operations/\`; do not edit. The same as OpenAPI 3.1:
\`GET /api/openapi.json\` of a running daemon, or [schemas/openapi.json](../schemas/openapi.json).

- **Who may call.** Without a token the daemon serves its own machine only, and everybody there may do everything. Once there are
  [tokens](operating.md#tokens-and-scopes) every request shows one, with the scope of its route: \`Authorization: Bearer <token>\`, or \`x-clarity-token: <token>\`.
- **Inputs** are JSON (\`content-type: application/json\`), in camelCase or snake_case; an unknown key is refused by name.
- **Lists** are newest first; \`nextCursor\` leads to the next page, \`null\` ends.
- **Errors** are \`{"error": text, "code": ..., "retryable": ...}\` with the status in [errors.md](errors.md).
- **Streams**: \`GET /api/events\` always, and \`GET /api/services/{id}/logs\` with \`accept: text/event-stream\`, answer with
  server-sent events; \`Last-Event-ID\` resumes the events.

Beside these routes the daemon serves \`/mcp\` and \`/mcp/<namespace>\` ([protocol.md](protocol.md)), \`/status\` (a page for people),
\`/healthz\` and \`/readyz\` ([operating.md](operating.md)).
`

function sentence({ description, summary }: Entry): string {
  return (description ?? summary).replaceAll("|", "\\|")
}

function section(route: string, entry: Entry): string {
  const fields = fieldsOf(entry)
  const rows = fields.map(
    ({ name, where, required, schema }) =>
      `| \`${name}\` | ${where} | ${typeOf(schema)}${required ? ", required" : ""} | ${told(schema["default"])} | ${about(schema)} |`,
  )
  const inputs =
    rows.length === 0
      ? ""
      : `\n\n| input | in | type | default | |\n| --- | --- | --- | --- | --- |\n${rows.join("\n")}`
  return `## ${entry.operationId}\n\n\`${route}\`, scope ${entry["x-clarity-scope"]}. ${sentence(entry)}${inputs}`
}

function fieldsOf({ parameters = [], requestBody }: Entry): Field[] {
  const body = requestBody?.content["application/json"].schema ?? {}
  const required = (body["required"] ?? []) as string[]
  return [
    ...parameters.map(({ name, in: where, required = false, schema }) => ({ name, where, required, schema })),
    ...Object.entries((body["properties"] ?? {}) as Record<string, JsonObject>).map(([name, schema]) => ({
      name,
      where: "body",
      required: required.includes(name),
      schema,
    })),
  ]
}

function typeOf(schema: JsonObject): string {
  if (typeof schema["$ref"] === "string") return schema["$ref"].split("/").at(-1) ?? "object"
  if (Array.isArray(schema["enum"])) return schema["enum"].map((each) => `\`${String(each)}\``).join(" or ")
  const { minimum, maximum } = schema
  const range = minimum === undefined && maximum === undefined ? "" : ` ${told(minimum)}..${told(maximum)}`
  return `${told(schema["type"]) || "any"}${range}`
}

function about(schema: JsonObject): string {
  return told(schema["description"]).replaceAll("|", "\\|")
}

function told(value: unknown): string {
  if (value === undefined) return ""
  return typeof value === "string" ? value : JSON.stringify(value)
}

function tools(): string {
  const rows = Object.values<Operation>(operations).flatMap(({ tool, summary, scope }) =>
    tool === undefined
      ? []
      : [
          `| \`runtime__${tool.name}\` | ${scope} | ${tool.gated ? "provisioning" : "always"} | ${summary.replaceAll("|", "\\|")} |`,
        ],
  )
  return `## The same operations as MCP tools

On \`/mcp\` they carry the prefix \`runtime__\`, on \`/mcp/runtime\` they go without it. Those marked *provisioning* are offered only
where the configuration says \`"provisioning": true\` (or \`CLARITY_ENABLE_MCP_PROVISIONING=1\`).

| tool | scope | offered | what it does |
| --- | --- | --- | --- |
${rows.join("\n")}`
}
