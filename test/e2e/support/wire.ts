import { Agent, request, type IncomingHttpHeaders } from "node:http"
import type { Era } from "./mcp.ts"

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

/** One client's one connection, kept alive; who asks again while an answer is awaited waits. */
export interface Wire extends Disposable {
  send(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string,
    signal?: AbortSignal,
  ): Promise<Answer>
  /** Connections that were opened so far. */
  readonly connections: number
}

export function wire(url: string): Wire {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const { hostname, port } = new URL(url)
  const sockets = new WeakSet<object>()
  let connections = 0
  return {
    send: (method, path, headers, body = "", signal) =>
      new Promise((resolve, reject) => {
        const sent = request(
          {
            agent,
            hostname,
            port,
            method,
            path,
            headers: { ...headers, "content-length": Buffer.byteLength(body) },
            signal,
          },
          (response) => {
            const chunks: Buffer[] = []
            response.on("data", (chunk: Buffer) => chunks.push(chunk))
            response.once("error", reject)
            response.once("close", () => {
              if (!response.complete) return reject(new Error("the answer broke off"))
              resolve({
                status: response.statusCode ?? 0,
                headers: response.headers,
                text: Buffer.concat(chunks).toString(),
              })
            })
          },
        )
        sent.once("socket", (socket) => {
          if (sockets.has(socket)) return
          sockets.add(socket)
          connections++
        })
        sent.once("error", reject)
        sent.end(body)
      }),
    get connections() {
      return connections
    },
    [Symbol.dispose]: () => agent.destroy(),
  }
}

/** The last JSON-RPC message of an answer, whether it is JSON or a stream. */
export function messageIn({ headers, text }: Pick<Answer, "headers" | "text">): Record<string, unknown> {
  if (!(headers["content-type"] ?? "").startsWith("text/event-stream"))
    return JSON.parse(text) as Record<string, unknown>
  const last = text.split("\n").findLast((line) => line.startsWith("data: {"))
  if (last === undefined) throw new Error(`no message in the stream: ${text.slice(0, 200)}`)
  return JSON.parse(last.slice(6)) as Record<string, unknown>
}

/** One MCP client over one connection, as cheap as can be. */
export interface Caller extends Disposable {
  readonly era: Era
  readonly wire: Wire
  /** The whole answer to `tools/call` under that id. */
  call(id: number, name: string, args: Record<string, unknown>, signal?: AbortSignal): Promise<Answer>
  /** Says on a connection of its own that the call is not wanted any more; of the modern era hanging up says it. */
  cancel(id: number): Promise<void>
}

const accept = { "content-type": "application/json", accept: "application/json, text/event-stream" }
const modernMeta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
}

export async function caller(url: string, era: Era, more: Record<string, string> = {}): Promise<Caller> {
  const own = wire(url)
  const side = wire(url)
  let headers: Record<string, string> = { ...accept, ...more }
  if (era === "legacy") {
    const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "caller", version: "1" } }
    const text = JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params: hello })
    const answer = await own.send("POST", "/mcp", headers, text)
    headers = {
      ...headers,
      "mcp-session-id": String(answer.headers["mcp-session-id"]),
      "mcp-protocol-version": "2025-11-25",
    }
  }
  return {
    era,
    wire: own,
    call(id, name, args, signal) {
      const params = era === "modern" ? { name, arguments: args, _meta: modernMeta } : { name, arguments: args }
      const named: Record<string, string> =
        era === "modern" ? { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name } : {}
      const text = JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params })
      return own.send("POST", "/mcp", { ...headers, ...named }, text, signal)
    },
    async cancel(requestId) {
      const text = JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId } })
      await side.send("POST", "/mcp", headers, text)
    },
    [Symbol.dispose]() {
      own[Symbol.dispose]()
      side[Symbol.dispose]()
    },
  }
}
