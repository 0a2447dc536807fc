import type { IncomingMessage } from "node:http"
import { serveRaw } from "../../test/e2e/support/stage.ts"

/** An MCP server over HTTP that counts what reaches it: the calls an attack must not cause. */
export interface Recorder extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Calls of tools so far. */
  readonly calls: number
  /** Requests for anything else than MCP so far. */
  readonly fetches: number
  /** Header names and values of every request. */
  readonly headers: readonly IncomingMessage["headers"][]
}

const object = { type: "object" }
const tools = [
  { name: "echo", inputSchema: object, annotations: { readOnlyHint: true } },
  { name: "danger", inputSchema: object, annotations: { destructiveHint: true } },
  {
    name: "headered",
    inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
  },
]
const initialized = {
  protocolVersion: "2025-11-25",
  capabilities: { tools: {} },
  serverInfo: { name: "recorder", version: "1" },
}
/** Given to whoever asks for anything else, so that a fetch that should not happen would even succeed. */
const manifest = {
  apiVersion: "clarity.runtime/v1",
  kind: "MCPService",
  metadata: { sourceFile: "fetched", module: "fetched" },
  spec: { origin: { type: "remote_mcp", endpoint: "https://example.com/mcp" }, autostart: false },
}

export async function serveRecorder(): Promise<Recorder> {
  const counts = { calls: 0, fetches: 0 }
  const server = await serveRaw((request, response, body) => {
    const json = (value: unknown) => {
      response.writeHead(200, { "content-type": "application/json" })
      response.end(JSON.stringify(value))
    }
    if (request.url !== "/mcp") {
      counts.fetches++
      return json(manifest)
    }
    if (request.method !== "POST") return void response.writeHead(405).end()
    const message = JSON.parse(body) as { id?: number; method?: string; params?: { arguments?: unknown } }
    if (message.id === undefined) return void response.writeHead(202).end()
    if (message.method === "tools/call") counts.calls++
    const results: Record<string, object> = {
      initialize: initialized,
      "tools/list": { tools },
      "tools/call": { content: [{ type: "text", text: JSON.stringify(message.params?.arguments ?? {}) }] },
      ping: {},
    }
    const result = results[message.method ?? ""]
    const answer = result === undefined ? { error: { code: -32601, message: "not here" } } : { result }
    json({ jsonrpc: "2.0", id: message.id, ...answer })
  })
  return {
    url: server.url,
    port: Number(new URL(server.url).port),
    get calls() {
      return counts.calls
    },
    get fetches() {
      return counts.fetches
    },
    get headers() {
      return server.seen.map(({ headers }) => headers)
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
