import { randomUUID } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { toNodeHandler } from "@modelcontextprotocol/node"
import { Server as ServerV1 } from "@modelcontextprotocol/sdk/server/index.js"
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js"
import { StreamableHTTPServerTransport, type EventStore } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js"
import * as v1 from "@modelcontextprotocol/sdk/types.js"
import { createMcpHandler, ProtocolError, ProtocolErrorCode, Server as ServerV2 } from "@modelcontextprotocol/server"

export interface SdkServer extends AsyncDisposable {
  readonly url: URL
  /** Method and headers of every request, in order. */
  readonly requests: { readonly method: string; readonly path: string; readonly headers: IncomingMessage["headers"] }[]
  readonly cancelled: string[]
  readonly sessions: ReadonlyMap<string, unknown>
  /** Forgets all sessions, as a restart does. */
  forget(): void
}

const object = { type: "object" } as const
const tools = ["echo", "steps", "slow", "drop"].map((name) => ({ name, inputSchema: { ...object, "x-kept": true } }))
const said = (text: string) => ({ content: [{ type: "text" as const, text }] })
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))

function buildV1(cancelled: string[]): ServerV1 {
  const server = new ServerV1({ name: "one", version: "1" }, { capabilities: { tools: { listChanged: true } } })
  server.setRequestHandler(v1.ListToolsRequestSchema, ({ params }) =>
    params?.cursor === undefined ? { tools: tools.slice(0, 2), nextCursor: "2" } : { tools: tools.slice(2) },
  )
  server.setRequestHandler(v1.CallToolRequestSchema, async ({ params }, extra) => {
    const progressToken = extra._meta?.progressToken
    const step = (progress: number) =>
      progressToken === undefined
        ? Promise.resolve()
        : extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress } })
    switch (params.name) {
      case "steps":
        for (const progress of [1, 2, 3]) await step(progress)
        return said("done")
      case "drop":
        await step(1)
        extra.closeSSEStream?.()
        await step(2)
        return said("resumed")
      case "slow":
        await step(1)
        await aborted(extra.signal)
        cancelled.push("slow")
        return said("late")
      case "echo":
        return said(JSON.stringify(params.arguments))
      default:
        throw new v1.McpError(v1.ErrorCode.InvalidParams, `no tool ${params.name}`)
    }
  })
  return server
}

function buildV2(cancelled: string[]): ServerV2 {
  const server = new ServerV2({ name: "two", version: "2" }, { capabilities: { tools: { listChanged: true } } })
  server.setRequestHandler("tools/list", () => ({ tools }))
  server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken
    const step = async (progress: number) => {
      if (progressToken !== undefined)
        await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress } })
    }
    switch (params.name) {
      case "steps":
        for (const progress of [1, 2, 3]) await step(progress)
        return said("done")
      case "slow":
        await step(1)
        await aborted(mcpReq.signal)
        cancelled.push("slow")
        return said("late")
      case "echo":
        return said(JSON.stringify(params.arguments))
      default:
        throw new ProtocolError(ProtocolErrorCode.InvalidParams, `no tool ${params.name}`)
    }
  })
  return server
}

type Handle = (request: IncomingMessage, response: ServerResponse) => unknown

async function host(
  handle: Handle,
  path: string,
  shared: Pick<SdkServer, "cancelled" | "sessions" | "forget">,
): Promise<SdkServer> {
  const requests: SdkServer["requests"] = []
  const server = createServer((request, response) => {
    requests.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers })
    void handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    ...shared,
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`),
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Keeps every event, so that a broken stream can be resumed. */
function memoryEventStore(): EventStore {
  const events: { id: string; stream: string; message: v1.JSONRPCMessage }[] = []
  return {
    async storeEvent(stream, message) {
      const id = `${stream}_${events.length}`
      events.push({ id, stream, message })
      return id
    },
    async replayEventsAfter(lastEventId, { send }) {
      const at = events.findIndex(({ id }) => id === lastEventId)
      const stream = events[at]?.stream ?? ""
      for (const { id, message } of events.slice(at + 1).filter((event) => event.stream === stream))
        await send(id, message)
      return stream
    },
  }
}

export interface V1Options {
  readonly sessions: boolean
  readonly json?: boolean
  readonly resumable?: boolean
}

/** Streamable HTTP of the v1 line, in the shapes servers really have. */
export function sdkV1({ sessions: sessionful, json = false, resumable = false }: V1Options): Promise<SdkServer> {
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const cancelled: string[] = []
  const handle: Handle = async (request, response) => {
    const id = request.headers["mcp-session-id"]
    const known = typeof id === "string" ? sessions.get(id) : undefined
    if (known) return known.handleRequest(request, response)
    if (id !== undefined) {
      const error = { code: -32001, message: "Session not found" }
      response.writeHead(404, { "content-type": "application/json" })
      return response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error }))
    }
    const transport = new StreamableHTTPServerTransport({
      ...(sessionful
        ? {
            sessionIdGenerator: () => randomUUID(),
            onsessioninitialized: (session: string) => void sessions.set(session, transport),
            onsessionclosed: (session: string) => void sessions.delete(session),
          }
        : {}),
      enableJsonResponse: json,
      ...(resumable ? { eventStore: memoryEventStore(), retryInterval: 100 } : {}),
    })
    await buildV1(cancelled).connect(transport as TransportV1)
    return transport.handleRequest(request, response)
  }
  return host(handle, "/mcp", { cancelled, sessions, forget: () => sessions.clear() })
}

/** HTTP+SSE of the v1 line. */
export function sdkSse(): Promise<SdkServer> {
  const sessions = new Map<string, SSEServerTransport>()
  const cancelled: string[] = []
  const handle: Handle = async (request, response) => {
    const url = new URL(request.url ?? "/", "http://host")
    if (request.method === "GET" && url.pathname === "/sse") {
      const transport = new SSEServerTransport("/messages", response)
      sessions.set(transport.sessionId, transport)
      response.on("close", () => sessions.delete(transport.sessionId))
      return buildV1(cancelled).connect(transport)
    }
    const known = url.pathname === "/messages" ? sessions.get(url.searchParams.get("sessionId") ?? "") : undefined
    if (known) return known.handlePostMessage(request, response)
    return response.writeHead(request.method === "POST" ? 404 : 405).end("no such page")
  }
  return host(handle, "/sse", {
    cancelled,
    sessions,
    forget: () => {
      for (const transport of sessions.values()) void transport.close()
    },
  })
}

/** The v2 line: modern only. */
export function sdkV2(responseMode: "json" | "sse" | "auto" = "auto"): Promise<SdkServer> {
  const cancelled: string[] = []
  const handler = createMcpHandler(() => buildV2(cancelled), { legacy: "reject", responseMode })
  const node = toNodeHandler(handler)
  return host((request, response) => node(request as never, response), "/mcp", {
    cancelled,
    sessions: new Map(),
    forget: () => {},
  })
}
