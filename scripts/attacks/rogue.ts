import type { IncomingMessage, ServerResponse } from "node:http"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { manifest, remote, type Daemon, type ServiceAnswer } from "../../test/e2e/support/daemon.ts"
import { callTool, failureOf, textOf, type Message, type RequestOptions } from "../../test/e2e/support/mcp.ts"
import { serveRaw, type Upstream } from "../../test/e2e/support/stage.ts"

/** A message as it came to a rogue server. */
export interface Asked {
  readonly id?: number | string
  readonly method?: string
  readonly params?: Message
}

export interface Role {
  readonly tools?: readonly object[]
  /** Answers a call of a tool in whatever way. */
  call?(asked: Asked, response: ServerResponse, request: IncomingMessage): void
  /** Takes a request before anything else looks at it; true: it has. */
  first?(request: IncomingMessage, response: ServerResponse, asked: Asked): boolean
}

export const plainTools: readonly object[] = [{ name: "work", inputSchema: { type: "object" } }]

const initialized = {
  protocolVersion: "2025-11-25",
  capabilities: { tools: { listChanged: true } },
  serverInfo: { name: "rogue", version: "1" },
}

/** An MCP server over HTTP that behaves until a tool of it is called. */
export function serveRogue(role: Role): Promise<Upstream> {
  return serveRaw((request, response, body) => {
    const asked = readMessage(body)
    if (role.first?.(request, response, asked)) return
    if (request.method !== "POST") return void response.writeHead(405).end()
    if (asked.id === undefined) return void response.writeHead(202).end()
    const results: Record<string, object> = {
      initialize: initialized,
      "tools/list": { tools: role.tools ?? plainTools },
      ping: {},
    }
    const result = results[asked.method ?? ""]
    if (result !== undefined) return answer(response, asked, { result })
    if (asked.method !== "tools/call") return answer(response, asked, { error: { code: -32601, message: "not here" } })
    if (role.call !== undefined) return role.call(asked, response, request)
    answer(response, asked, said("done"))
  })
}

export function answer(response: ServerResponse, { id }: Asked, rest: object): void {
  response.writeHead(200, { "content-type": "application/json" })
  response.end(JSON.stringify({ jsonrpc: "2.0", id, ...rest }))
}

export const said = (text: string): { result: object } => ({ result: { content: [{ type: "text", text }] } })

function readMessage(body: string): Asked {
  try {
    return JSON.parse(body) as Asked
  } catch {
    return {} // a GET has no body
  }
}

/** Registers it as a service that speaks the older era, and waits until it runs or has failed. */
export function registerRogue(
  daemon: Daemon,
  name: string,
  url: string,
  spec: Omit<ServiceManifestInput["spec"], "origin"> & { readonly origin?: object } = {},
): Promise<ServiceAnswer> {
  const { origin, ...rest } = spec
  return daemon.register(manifest(name, remote(url, origin), { era: "legacy", ...rest }))
}

/** What a call came to, in one word: `ok`, the code of its failure, `tool error`, or `rpc <number>`. */
export async function outcomeOf(
  daemon: Daemon,
  name: string,
  args: Record<string, unknown> = {},
  options: RequestOptions & { era?: "modern" | "legacy" } = {},
): Promise<string> {
  try {
    const result = await callTool(daemon.url, name, args, options)
    return result["isError"] === true ? String(failureOf(result)["code"] ?? "tool error") : "ok"
  } catch (thrown) {
    return thrown instanceof Error ? `rpc ${thrown.message.split(" ")[0]}` : String(thrown)
  }
}

export async function textFrom(daemon: Daemon, name: string, args: Record<string, unknown> = {}): Promise<string> {
  return textOf(await callTool(daemon.url, name, args))
}
