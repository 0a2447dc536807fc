interface Message {
  id?: string | number
  method?: string
  params?: { arguments?: { text?: string } }
}

const tools = [
  {
    name: "echo",
    description: "Gives the text back.",
    inputSchema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
    annotations: { readOnlyHint: true },
  },
]

const results: Readonly<Record<string, (message: Message) => object>> = {
  "server/discover": () => ({
    supportedVersions: ["2026-07-28"],
    capabilities: { tools: {} },
    ttlMs: 0,
    cacheScope: "private",
  }),
  "tools/list": () => ({ tools, ttlMs: 0, cacheScope: "private" }),
  "tools/call": ({ params }) => ({ content: [{ type: "text", text: params?.arguments?.text ?? "" }] }),
}

/** The answer to one message; undefined for a notification. */
export function answer(message: Message): string | undefined {
  if (message.id === undefined) return undefined
  const make = results[message.method ?? ""]
  if (make === undefined)
    return JSON.stringify({ jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "method not found" } })
  return JSON.stringify({ jsonrpc: "2.0", id: message.id, result: { resultType: "complete", ...make(message) } })
}
