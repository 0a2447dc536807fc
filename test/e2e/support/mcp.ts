import { Client as ModernClient, StreamableHTTPClientTransport as ModernTransport } from "@modelcontextprotocol/client"
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport as LegacyTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"

/** A message off the wire, read by tests that know what they look for. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Message = Record<string, any>
export type Era = "legacy" | "modern"
export const eras: readonly Era[] = ["legacy", "modern"]

export interface RequestOptions {
  readonly path?: string
  readonly headers?: Record<string, string>
  readonly meta?: object
  readonly signal?: AbortSignal
}

const named = new Set(["tools/call", "prompts/get", "resources/read"])

/** Sends one request by hand, as a client of that era would, and gives the HTTP response. */
export function send(
  url: string,
  era: Era,
  method: string,
  params: Record<string, unknown> = {},
  options: RequestOptions = {},
): Promise<Response> {
  const target = params["name"] ?? params["uri"]
  const modern = {
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": method,
    ...(named.has(method) && typeof target === "string" ? { "mcp-name": target } : {}),
  }
  const meta = {
    ...(era === "modern"
      ? {
          "io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientCapabilities": {},
        }
      : {}),
    ...options.meta,
  }
  const body = { jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: meta } }
  return post(`${url}/mcp${options.path ?? ""}`, JSON.stringify(body), {
    ...options,
    headers: { ...(era === "modern" ? modern : {}), ...options.headers },
  })
}

export function post(url: string, body: string, options: RequestOptions = {}): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...options.headers,
    },
    body,
    ...(options.signal ? { signal: options.signal } : {}),
  })
}

/** Every message of an answer, JSON or stream. */
export async function messagesOf(response: Response): Promise<Message[]> {
  const text = await response.text()
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream"))
    return text === "" ? [] : [JSON.parse(text) as Message]
  return text
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice(6)) as Message)
}

/** The last message of the answer: its `result` or its `error`. */
export async function ask(
  url: string,
  era: Era,
  method: string,
  params: Record<string, unknown> = {},
  options: RequestOptions = {},
): Promise<Message> {
  return (await messagesOf(await send(url, era, method, params, options))).at(-1) ?? {}
}

/** The result of a tool, as the endpoint gives it. Throws where the protocol says no. */
export async function callTool(
  url: string,
  name: string,
  args: Record<string, unknown> = {},
  options: RequestOptions & { era?: Era } = {},
): Promise<Message> {
  const answer = await ask(url, options.era ?? "modern", "tools/call", { name, arguments: args }, options)
  if (answer["error"] !== undefined) throw new Error(`${answer["error"].code} ${answer["error"].message}`)
  return answer["result"]
}

export const textOf = (result: Message): string => result["content"]?.[0]?.text
export const failureOf = (result: Message): Message =>
  Object.values((result["_meta"] ?? {}) as Message).find((value) => typeof value?.code === "string") ?? {}

/** Names listed at an endpoint, all pages. */
export async function namesOf(
  url: string,
  list: "tools" | "prompts" | "resources" = "tools",
  options: RequestOptions & { era?: Era } = {},
): Promise<string[]> {
  const names: string[] = []
  let cursor: string | undefined
  do {
    const { result } = await ask(url, options.era ?? "modern", `${list}/list`, cursor ? { cursor } : {}, options)
    names.push(...result[list].map((item: Message) => item["uri"] ?? item["name"]))
    cursor = result.nextCursor
  } while (cursor !== undefined)
  return names
}

/** The official client of the first line, connected. */
export async function legacyClient(
  url: string,
  path = "",
  headers: Record<string, string> = {},
): Promise<LegacyClient> {
  const client = new LegacyClient({ name: "e2e", version: "1" }, { capabilities: {} })
  const transport = new LegacyTransport(new URL(`${url}/mcp${path}`), { requestInit: { headers } })
  await client.connect(transport as Parameters<LegacyClient["connect"]>[0])
  return client
}

/** The official client of the second line, speaking the modern era. */
export async function modernClient(url: string, path = ""): Promise<ModernClient> {
  const client = new ModernClient(
    { name: "e2e", version: "1" },
    { capabilities: {}, versionNegotiation: { mode: "auto" } },
  )
  await client.connect(new ModernTransport(new URL(`${url}/mcp${path}`)))
  return client
}
