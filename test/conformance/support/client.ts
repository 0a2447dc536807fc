// The client under test: a daemon with the given URL as its only service, and an official client that does through the
// daemon what the scenario wants. `node client.ts URL`; the suite says which scenario and revision by variables.
import { drive } from "../../e2e/interop-clients.ts"
import { manifest, remote, startDaemon } from "../../e2e/support/daemon.ts"

interface Schema {
  readonly type?: string
  readonly enum?: readonly unknown[]
  readonly default?: unknown
  readonly properties?: Record<string, Schema>
}
interface ToolCall {
  readonly name: string
  readonly arguments: Record<string, unknown>
}

const service = "upstream"
const url = process.argv.at(-1) ?? ""
const line = process.env["MCP_CONFORMANCE_PROTOCOL_VERSION"] === "2025-11-25" ? "1.x" : "2.x"
const { toolCalls } = JSON.parse(process.env["MCP_CONFORMANCE_CONTEXT"] ?? "{}") as { toolCalls?: ToolCall[] }

const daemon = await startDaemon()
try {
  const { runtime } = await daemon.register(manifest(service, remote(url), { toolNamespace: service }))
  if (runtime.lifecycle !== "RUNNING") throw new Error(`the service is ${runtime.lifecycle}: ${runtime.lastError}`)
  const driver = await drive(daemon, service, line, "HTTP")
  await attempt("tools", async () => {
    const tools = await driver.listed()
    const calls =
      toolCalls ??
      tools.map(({ name, inputSchema }) => ({ name, arguments: sample(inputSchema, tools[0]?.inputSchema) }))
    for (const call of calls) await attempt(call.name, () => driver.call(call.name, call.arguments))
  })
  await attempt("resources", async () => {
    for (const uri of await driver.resources()) await attempt(uri, () => driver.read(uri))
  })
  await attempt("prompts", async () => {
    for (const name of await driver.prompts()) await attempt(name, () => driver.prompt(name, {}))
  })
  await driver[Symbol.asyncDispose]()
} finally {
  await daemon[Symbol.asyncDispose]()
}

/** What a scenario's server does not have, or refuses, is no fault: the suite judges by what it was sent. */
async function attempt(what: string, run: () => Promise<unknown>): Promise<void> {
  try {
    await run()
  } catch (error) {
    console.error(`${what}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Arguments that a schema allows. A tool that wants a schema gets another's, as it was listed. */
function sample({ properties = {} }: Schema, listed: unknown): Record<string, unknown> {
  const values: Record<string, unknown> = { number: 5, integer: 5, boolean: true, object: listed, array: [] }
  return Object.fromEntries(
    Object.entries(properties).map(([key, schema]) => [
      key,
      schema.default ?? schema.enum?.[0] ?? values[schema.type ?? "string"] ?? "text",
    ]),
  )
}
