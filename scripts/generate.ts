// Everything that is said once in code and stands elsewhere too: schemas/*.json, docs/errors.md and docs/http-api.md.
// Without arguments it writes them; with --check it fails when they are not what the code says.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { errorTable, manifestSchema } from "@clarity-runtime/contracts"
import { openApiDocument } from "@clarity-runtime/control"
import { rulesFileSchema } from "@clarity-runtime/policy"
import { toJsonSchema } from "@valibot/to-json-schema"
import { configurationFileSchema } from "clarityd"
import type { GenericSchema } from "valibot"
import { httpApiPage } from "./http-api.ts"

const root = dirname(import.meta.dirname)
const check = process.argv.includes("--check")

function schema(from: GenericSchema, id: string, title: string): string {
  // What a person writes: fields with defaults may be left out. Checks beyond JSON Schema stay in code.
  const made = toJsonSchema(from, { errorMode: "ignore", typeMode: "input" })
  const { $schema, ...rest } = made
  return `${JSON.stringify({ $schema, $id: id, title, ...rest }, null, 2)}\n`
}

function errors(): string {
  const rows = Object.entries(errorTable).map(
    ([code, { rpc, http, exit, retryable, means }]) =>
      `| \`${code}\` | ${rpc} | ${http} | ${exit} | ${retryable ? "yes" : "no"} | ${means} |`,
  )
  return `# Errors

Generated from \`packages/contracts/src/errors.ts\`; do not edit.

Three kinds, never mixed: *protocol errors* (a JSON-RPC \`error\`), *tool failures* (a result with \`isError\`, passed on as
the service gave it, or made by the runtime with \`{code, retryable, ...}\` under \`_meta["dev.clarity-runtime/error"]\`), and
*operator errors* (one readable paragraph and an exit code). The runtime's own JSON-RPC numbers are positive: the negative
ones belong to JSON-RPC and MCP. HTTP routes answer \`{"error": text, "code": ..., "retryable": ...}\`.

| code | JSON-RPC | HTTP | exit | retry | means |
| --- | ---: | ---: | ---: | --- | --- |
${rows.join("\n")}
`
}

const openApi = openApiDocument()
const files: Readonly<Record<string, string>> = {
  "schemas/mcp-service-v1.schema.json": schema(
    manifestSchema,
    "https://clarity-runtime.dev/schemas/mcp-service-v1.schema.json",
    "MCPService manifest, clarity.runtime/v1",
  ),
  "schemas/clarityd.schema.json": schema(
    configurationFileSchema,
    "https://clarity-runtime.dev/schemas/clarityd.schema.json",
    "Configuration of clarityd",
  ),
  "schemas/policy.schema.json": schema(
    rulesFileSchema,
    "https://clarity-runtime.dev/schemas/policy.schema.json",
    "Rules of clarityd, clarity.policy/v1",
  ),
  "schemas/openapi.json": `${JSON.stringify(openApi, null, 2)}\n`,
  "docs/errors.md": errors(),
  "docs/http-api.md": httpApiPage(openApi),
}

const stale: string[] = []
for (const [name, content] of Object.entries(files)) {
  const path = join(root, name)
  let found: string | undefined
  try {
    found = readFileSync(path, "utf8")
  } catch {
    found = undefined
  }
  if (found === content) continue
  stale.push(name)
  if (check) continue
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
}
if (check && stale.length > 0) {
  console.error(`not what the code says: ${stale.join(", ")}. Run: npm run generate`)
  process.exitCode = 1
} else console.log(stale.length === 0 ? "up to date" : `written: ${stale.join(", ")}`)
