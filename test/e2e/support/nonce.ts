// An MCP server whose one tool gives its caller's nonce back: over stdio by `node nonce.ts legacy|modern`, over HTTP by
// `serveNonce`. `delayMs` waits; `hold` waits until the caller is gone.
import { randomUUID } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { createInterface } from "node:readline"
import type { Era } from "./mcp.ts"

interface Asked {
  readonly id?: string | number
  readonly method?: string
  readonly params?: { readonly arguments?: Args; readonly requestId?: string | number }
}
interface Args {
  readonly nonce?: string
  readonly delayMs?: number
  readonly hold?: boolean
}

const tool = {
  name: "nonce",
  description: "Gives the nonce back.",
  inputSchema: { type: "object", properties: { nonce: { type: "string" } } },
  annotations: { readOnlyHint: true },
}

function resultOf(era: Era, { method, params }: Asked): object | undefined {
  const modern = era === "modern" ? { resultType: "complete" } : {}
  switch (method) {
    case "initialize":
      if (era === "modern") return undefined
      return { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "nonce", version: "1" } }
    case "server/discover":
      if (era === "legacy") return undefined
      return {
        ...modern,
        supportedVersions: ["2026-07-28"],
        capabilities: { tools: {} },
        ttlMs: 0,
        cacheScope: "private",
      }
    case "tools/list":
      return { ...modern, tools: [tool], ...(era === "modern" ? { ttlMs: 0, cacheScope: "private" } : {}) }
    case "tools/call":
      return { ...modern, content: [{ type: "text", text: String(params?.arguments?.nonce) }] }
    case "ping":
      return {}
    default:
      return undefined
  }
}

function textOf(era: Era, asked: Asked): string {
  const result = resultOf(era, asked)
  const rest = result === undefined ? { error: { code: -32601, message: "method not found" } } : { result }
  return JSON.stringify({ jsonrpc: "2.0", id: asked.id, ...rest })
}

export interface NonceServer extends AsyncDisposable {
  readonly url: string
  /** Nonces of calls that arrived. */
  readonly arrived: Set<string>
  /** Calls that are being held: their caller is still there. */
  readonly held: Set<string>
  /** Exchanges whose connection was closed before they were answered. */
  cut: number
}

export interface NonceOptions {
  /** Is told of every request; true: it has answered it itself. */
  readonly intercept?: (request: IncomingMessage, body: string, response: ServerResponse) => boolean
}

export async function serveNonce(era: Era, { intercept = () => false }: NonceOptions = {}): Promise<NonceServer> {
  const arrived = new Set<string>()
  const held = new Set<string>()
  const sessions = new Set<string>()

  function answer(asked: Asked, response: ServerResponse, session: string | undefined): void {
    const { nonce = "", delayMs = 0, hold = false } = asked.params?.arguments ?? {}
    const headers: Record<string, string> = { "content-type": "application/json" }
    if (era === "legacy") {
      if (asked.method === "initialize") {
        const id = randomUUID()
        sessions.add(id)
        headers["mcp-session-id"] = id
      } else if (asked.method !== "server/discover" && !sessions.has(session ?? ""))
        return void response.writeHead(404).end()
    }
    if (asked.id === undefined) return void response.writeHead(202).end()
    const send = () => response.writeHead(200, headers).end(textOf(era, asked))
    if (asked.method !== "tools/call") return void send()
    arrived.add(nonce)
    if (hold) held.add(nonce)
    const timer = hold ? undefined : setTimeout(send, delayMs)
    response.once("close", () => {
      clearTimeout(timer)
      held.delete(nonce)
      if (!response.writableFinished) server.cut++
    })
  }

  const http = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString()
      if (intercept(request, body, response)) return
      if (request.method === "DELETE") return void response.writeHead(204).end()
      if (request.method !== "POST") return void response.writeHead(405).end()
      const session = request.headers["mcp-session-id"]
      answer(JSON.parse(body) as Asked, response, String(session))
    })
  })
  // Long enough to be used again, short enough that nobody has to wait until idle connections are gone.
  http.keepAliveTimeout = 3000
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve))
  const server: NonceServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    arrived,
    held,
    cut: 0,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
  return server
}

function serveStdio(era: Era): void {
  const waiting = new Map<string | number, NodeJS.Timeout | undefined>()
  createInterface({ input: process.stdin }).on("line", (line) => {
    const asked = JSON.parse(line) as Asked
    if (asked.method === "notifications/cancelled") {
      const { requestId = "" } = asked.params ?? {}
      clearTimeout(waiting.get(requestId))
      waiting.delete(requestId)
    }
    const { id } = asked
    if (id === undefined) return
    const { delayMs = 0, hold = false } = asked.params?.arguments ?? {}
    const send = () => {
      waiting.delete(id)
      process.stdout.write(`${textOf(era, asked)}\n`)
    }
    if (hold) waiting.set(id, undefined)
    else if (delayMs === 0) send()
    else waiting.set(id, setTimeout(send, delayMs))
  })
}

if (process.argv[1] === import.meta.filename) serveStdio(process.argv[2] === "legacy" ? "legacy" : "modern")
