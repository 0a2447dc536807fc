// Many small MCP servers behind one port: /s/<n> is a server with its own 40 tools.
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const toolsPerService = 40
const toolsOf = (service: string) =>
  Array.from({ length: toolsPerService }, (_, i) => ({
    name: `do_thing_${i}`,
    description: `Does thing number ${i} of service ${service} with what it is given, and says how it went.`,
    inputSchema: {
      type: "object",
      properties: {
        subject: { type: "string", description: "What to do it with." },
        times: { type: "integer", minimum: 1 },
      },
      required: ["subject"],
    },
  }))

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    if (request.method !== "POST") return void response.writeHead(405).end()
    const message = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { id?: number; method: string }
    if (message.id === undefined) return void response.writeHead(202).end()
    const service = request.url?.split("/").pop() ?? ""
    const results: Record<string, object> = {
      "server/discover": {
        supportedVersions: ["2026-07-28"],
        capabilities: { tools: {} },
        ttlMs: 0,
        cacheScope: "private",
      },
      "tools/list": { tools: toolsOf(service), ttlMs: 0, cacheScope: "private" },
      "tools/call": { content: [{ type: "text", text: service }] },
    }
    const result = results[message.method]
    const body =
      result === undefined
        ? { error: { code: -32601, message: "method not found" } }
        : { result: { resultType: "complete", ...result } }
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...body }))
  })
})
server.listen(0, "127.0.0.1", () => console.log(`ready ${(server.address() as AddressInfo).port}`))
