// An MCP server of revision 2026-07-28 as cheap as can be: what is measured is what stands in front of it.
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { answer } from "./echo.ts"

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    if (request.method !== "POST") return void response.writeHead(405).end()
    const body = answer(JSON.parse(Buffer.concat(chunks).toString("utf8")))
    if (body === undefined) return void response.writeHead(202).end()
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body)
  })
})
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () =>
  console.log(`ready ${(server.address() as AddressInfo).port}`),
)
