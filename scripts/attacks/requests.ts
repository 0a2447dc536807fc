import * as v from "valibot"
import { bytesOf, partSchema, type Part } from "./bytes.ts"

/** One MCP message as a client of that era would send it; everything the request says itself comes on top. */
const mcpSchema = v.strictObject({
  method: v.string(),
  params: v.optional(v.record(v.string(), v.unknown()), {}),
  era: v.optional(v.picklist(["modern", "legacy"]), "modern"),
  id: v.optional(v.unknown(), 1),
})

export const requestSchema = v.strictObject({
  method: v.optional(v.string()),
  path: v.optional(v.string()),
  /** `null` leaves a header out that would stand there by itself; a list repeats it. */
  headers: v.optional(v.record(v.string(), v.nullable(v.union([partSchema, v.array(v.string())])))),
  body: v.optional(partSchema),
  mcp: v.optional(mcpSchema),
  /** The whole request, byte by byte, in place of everything else. */
  raw: v.optional(partSchema),
})
export type RequestInput = v.InferOutput<typeof requestSchema>

const named: Readonly<Record<string, string>> = { "tools/call": "name", "prompts/get": "name", "resources/read": "uri" }

/** The bytes of a request. Its own headers stand in the order of the file, after those that stand there by themselves. */
export function requestBytes(request: RequestInput, fill: (text: string) => string): Buffer {
  if (request.raw !== undefined) return bytesOf(request.raw, fill)
  const { mcp } = request
  const message = mcp === undefined ? undefined : messageOf(mcp)
  const part: Part | undefined = request.body ?? (message === undefined ? undefined : { json: message.body })
  const body = part === undefined ? undefined : bytesOf(part, fill)
  const method = request.method ?? (body === undefined ? "GET" : "POST")
  const headers = new Map<string, Part | readonly string[]>([["Host", "127.0.0.1:{port}"]])
  if (body !== undefined) {
    headers.set("Content-Type", "application/json").set("Accept", "application/json, text/event-stream")
    for (const [name, value] of Object.entries(message?.headers ?? {})) headers.set(name, value)
    headers.set("Content-Length", String(body.length))
  }
  headers.set("Connection", "close")
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    if (value === null) headers.delete(name)
    else headers.set(name, value as Part)
  }
  const lines = [...headers].flatMap(([name, value]) =>
    (Array.isArray(value) && value.every((each) => typeof each === "string") ? value : [value]).map((each) =>
      Buffer.concat([Buffer.from(`${fill(name)}: `), bytesOf(each as Part, fill), Buffer.from("\r\n")]),
    ),
  )
  return Buffer.concat([
    Buffer.from(`${method} ${fill(request.path ?? "/mcp")} HTTP/1.1\r\n`),
    ...lines,
    Buffer.from("\r\n"),
    body ?? Buffer.alloc(0),
  ])
}

function messageOf({ method, params, era, id }: v.InferOutput<typeof mcpSchema>): {
  readonly body: object
  readonly headers: Readonly<Record<string, string>>
} {
  const body = (filled: object) => ({ jsonrpc: "2.0", ...(id === "none" ? {} : { id }), method, params: filled })
  if (era === "legacy") return { body: body(params), headers: {} }
  const meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    ...(params["_meta"] as object | undefined),
  }
  const name = params[named[method] ?? ""]
  return {
    body: body({ ...params, _meta: meta }),
    headers: {
      "MCP-Protocol-Version": "2026-07-28",
      "Mcp-Method": method,
      ...(typeof name === "string" ? { "Mcp-Name": name } : {}),
    },
  }
}
