import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { randomUUID } from "node:crypto"
import { toNodeHandler } from "@modelcontextprotocol/node"
import { Server as ServerV1 } from "@modelcontextprotocol/sdk/server/index.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js"
import * as v1 from "@modelcontextprotocol/sdk/types.js"
import {
  createMcpHandler,
  inputRequired,
  isLegacyRequest,
  Server as ServerV2,
  WebStandardStreamableHTTPServerTransport,
  type McpHttpHandler,
} from "@modelcontextprotocol/server"
import { serveStdio } from "@modelcontextprotocol/server/stdio"
import type { ServerEnd } from "./pipe.ts"

/** What both everything-servers offer, and what a test learns of them. */
export interface Seen {
  /** Tools whose handler was told to stop. */
  readonly cancelled: string[]
  readonly subscribed: string[]
  readonly unsubscribed: string[]
  readonly levels: string[]
  calls: number
  sessions: number
}

export const newSeen = (): Seen => ({
  cancelled: [],
  subscribed: [],
  unsubscribed: [],
  levels: [],
  calls: 0,
  sessions: 0,
})

const object = { type: "object" } as const
const toolNames = ["echo", "slow", "steps", "ask", "ask_url", "sample", "roots", "log", "touch", "grow", "fail"]
const listed = toolNames.map((name) => ({ name, description: name, inputSchema: { ...object, "x-kept": true } }))
/** Two tools a page. */
function page<T>(items: readonly T[], cursor: string | undefined): { items: T[]; nextCursor?: string } {
  const from = cursor === undefined ? 0 : Number(cursor)
  return { items: items.slice(from, from + 2), ...(from + 2 < items.length ? { nextCursor: String(from + 2) } : {}) }
}
const form = { type: "object" as const, properties: { name: { type: "string" as const } } }
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener("abort", () => resolve(), { once: true })
  })
const said = (text: string) => ({ content: [{ type: "text" as const, text }] })

export function buildV1(seen: Seen, onTouch?: (uri: string) => void): ServerV1 {
  const server = new ServerV1(
    { name: "one", version: "1" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: {},
        logging: {},
        completions: {},
      },
      instructions: "be kind",
    },
  )
  server.setRequestHandler(v1.ListToolsRequestSchema, ({ params }) => {
    const { items, ...rest } = page(listed, params?.cursor)
    return { tools: items, ...rest }
  })
  server.setRequestHandler(v1.ListResourcesRequestSchema, () => ({ resources: [{ uri: "test://a", name: "a" }] }))
  server.setRequestHandler(v1.ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: [{ uriTemplate: "test://{x}", name: "x" }],
  }))
  server.setRequestHandler(v1.ListPromptsRequestSchema, () => ({ prompts: [{ name: "hello" }] }))
  server.setRequestHandler(v1.ReadResourceRequestSchema, ({ params }) => {
    if (params.uri !== "test://a") throw new v1.McpError(-32002 as v1.ErrorCode, "no such resource")
    return { contents: [{ uri: params.uri, text: "A" }] }
  })
  server.setRequestHandler(v1.SubscribeRequestSchema, ({ params }) => {
    seen.subscribed.push(params.uri)
    return {}
  })
  server.setRequestHandler(v1.UnsubscribeRequestSchema, ({ params }) => {
    seen.unsubscribed.push(params.uri)
    return {}
  })
  server.setRequestHandler(v1.SetLevelRequestSchema, ({ params }) => {
    seen.levels.push(params.level)
    return {}
  })
  server.setRequestHandler(v1.CallToolRequestSchema, async ({ params }, extra) => {
    seen.calls++
    const args = params.arguments ?? {}
    const related = { relatedRequestId: extra.requestId }
    switch (params.name) {
      case "echo":
        return { ...said(String(args["text"])), structuredContent: { kept: args }, _meta: { mine: 1 } }
      case "slow":
        await aborted(extra.signal)
        seen.cancelled.push(String(args["text"] ?? "slow"))
        return said("late")
      case "steps":
        for (const progress of [1, 2, 3])
          if (extra._meta?.progressToken !== undefined)
            await extra.sendNotification({
              method: "notifications/progress",
              params: { progressToken: extra._meta.progressToken, progress, total: 3 },
            })
        return said(extra._meta?.progressToken === undefined ? "no token" : "done")
      case "ask": {
        const first = await server.elicitInput({ message: "who?", requestedSchema: form }, related)
        if (args["twice"] !== true) return said(JSON.stringify(first))
        const second = await server.elicitInput({ message: "and?", requestedSchema: form }, related)
        return said(JSON.stringify([first, second]))
      }
      case "ask_url":
        throw new v1.UrlElicitationRequiredError([
          { mode: "url", message: "open", url: "https://page.test/", elicitationId: "e1" },
        ])
      case "sample":
        return said(
          JSON.stringify(
            await server.createMessage(
              { messages: [{ role: "user", content: { type: "text", text: "hi" } }], maxTokens: 5 },
              related,
            ),
          ),
        )
      case "roots":
        return said(JSON.stringify(await server.listRoots({}, related)))
      case "log":
        for (const level of ["debug", "warning"] as const)
          await extra.sendNotification({ method: "notifications/message", params: { level, data: `a ${level} line` } })
        return said("logged")
      case "touch":
        await server.sendResourceUpdated({ uri: "test://a" })
        onTouch?.("test://a")
        return said("touched")
      case "grow":
        await server.sendToolListChanged()
        return said("grown")
      default:
        throw new v1.McpError(-32602, `no tool ${params.name}`)
    }
  })
  return server
}

/** `handler` gets changes to its listeners where this instance has none of its own (HTTP). */
export function buildV2(seen: Seen, handler?: () => McpHttpHandler): ServerV2 {
  const server = new ServerV2(
    { name: "two", version: "2" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: {},
        logging: {},
      },
      instructions: "be kind",
    },
  )
  const forms = { who: inputRequired.elicit({ message: "who?", requestedSchema: form }) }
  server.setRequestHandler("tools/list", ({ params }) => {
    const { items, ...rest } = page(listed, params?.cursor)
    return { tools: items, ...rest }
  })
  server.setRequestHandler("resources/list", () => ({ resources: [{ uri: "test://a", name: "a" }] }))
  server.setRequestHandler("resources/templates/list", () => ({
    resourceTemplates: [{ uriTemplate: "test://{x}", name: "x" }],
  }))
  server.setRequestHandler("prompts/list", () => ({ prompts: [{ name: "hello" }] }))
  server.setRequestHandler("resources/read", ({ params }) => ({ contents: [{ uri: params.uri, text: "A" }] }))
  server.setRequestHandler("tools/call", async ({ params }, ctx) => {
    seen.calls++
    const { mcpReq } = ctx
    const args = (params.arguments ?? {}) as Record<string, unknown>
    const token = mcpReq._meta?.progressToken
    switch (params.name) {
      case "echo":
        return { ...said(String(args["text"])), structuredContent: { kept: args }, _meta: { mine: 1 } }
      case "slow":
        await aborted(mcpReq.signal)
        seen.cancelled.push(String(args["text"] ?? "slow"))
        return said("late")
      case "steps":
        for (const progress of [1, 2, 3])
          if (token !== undefined)
            await mcpReq.notify({
              method: "notifications/progress",
              params: { progressToken: token, progress, total: 3 },
            })
        return said(token === undefined ? "no token" : "done")
      case "ask": {
        const who = mcpReq.inputResponses?.["who"]
        if (who === undefined) return inputRequired({ inputRequests: forms, requestState: "upstream-state" })
        return said(JSON.stringify([who, mcpReq.requestState()]))
      }
      case "sample": {
        const answer = mcpReq.inputResponses?.["model"]
        if (answer !== undefined) return said(JSON.stringify(answer))
        return inputRequired({
          inputRequests: {
            model: inputRequired.createMessage({
              messages: [{ role: "user", content: { type: "text", text: "hi" } }],
              maxTokens: 5,
            }),
          },
        })
      }
      case "roots": {
        const answer = mcpReq.inputResponses?.["roots"]
        return answer === undefined
          ? inputRequired({ inputRequests: { roots: inputRequired.listRoots() } })
          : said(JSON.stringify(answer))
      }
      case "log":
        for (const level of ["debug", "warning"] as const) await mcpReq.log(level, `a ${level} line`)
        return said("logged")
      case "who":
        return said(JSON.stringify(mcpReq.envelope))
      case "touch":
        if (handler) handler().notify.resourceUpdated("test://a")
        else await server.sendResourceUpdated({ uri: "test://a" })
        return said("touched")
      case "grow":
        if (handler) handler().notify.toolsChanged()
        else await server.sendToolListChanged()
        return said("grown")
      default:
        throw Object.assign(new Error(`no tool ${params.name}`), { code: -32602 })
    }
  })
  return server
}

export const serveV1 = (seen: Seen) => (end: ServerEnd) => buildV1(seen).connect(end as unknown as TransportV1)

export const serveV2 =
  (seen: Seen, legacy: "serve" | "reject" = "serve") =>
  (end: ServerEnd) =>
    void serveStdio(() => buildV2(seen), { transport: end as never, legacy })

export interface HttpFixture extends AsyncDisposable {
  readonly url: string
  /** Forgets all sessions, as a restart does. */
  forget(): void
}

async function listenOn(handle: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<{
  readonly url: string
  close(): Promise<void>
}> {
  const server = createServer((request, response) => void handle(request, response))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A sessionful server of the v1 line. */
export async function httpV1(seen: Seen): Promise<HttpFixture> {
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const { url, close } = await listenOn(async (request, response) => {
    const id = request.headers["mcp-session-id"]
    let transport = typeof id === "string" ? sessions.get(id) : undefined
    if (!transport) {
      if (id !== undefined) {
        const error = { code: -32001, message: "Session not found" }
        response.writeHead(404, { "content-type": "application/json" })
        return void response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error }))
      }
      const made = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (session) => {
          seen.sessions++
          sessions.set(session, made)
        },
      })
      transport = made
      await buildV1(seen).connect(made as TransportV1)
    }
    await transport.handleRequest(request, response)
  })
  return {
    url,
    forget: () => sessions.clear(),
    async [Symbol.asyncDispose]() {
      await close()
    },
  }
}

/** A server of the v2 line: modern, or both eras with sessions on the older side. */
export async function httpV2(seen: Seen, eras: "modern" | "both" = "modern"): Promise<HttpFixture> {
  const handler: McpHttpHandler = createMcpHandler(() => buildV2(seen, () => handler), { legacy: "reject" })
  const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>()
  const node = toNodeHandler({
    async fetch(request, options) {
      if (eras === "modern" || !(await isLegacyRequest(request.clone()))) return handler.fetch(request, options)
      const id = request.headers.get("mcp-session-id")
      const known = id === null ? undefined : sessions.get(id)
      if (known) return known.handleRequest(request)
      const transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (session) => {
          seen.sessions++
          sessions.set(session, transport)
        },
      })
      await buildV2(seen, () => handler).connect(transport)
      return transport.handleRequest(request)
    },
  })
  const { url, close } = await listenOn((request, response) => node(request as never, response))
  return {
    url,
    forget: () => sessions.clear(),
    async [Symbol.asyncDispose]() {
      await handler.close()
      await close()
    },
  }
}
