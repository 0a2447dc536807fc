// The yardstick: a reverse proxy of nothing but node:http, that parses nothing and decides nothing.
import { Agent, createServer, request as send } from "node:http"
import type { AddressInfo } from "node:net"

const port = Number(process.argv[2])
const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const server = createServer((request, response) => {
  const { host: _host, ...headers } = request.headers
  const upstream = send(
    { host: "127.0.0.1", port, path: request.url, method: request.method, headers, agent },
    (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.pipe(response)
    },
  )
  upstream.on("error", () => response.writeHead(502).end())
  request.pipe(upstream)
})
server.listen(0, "127.0.0.1", () => console.log(`ready ${(server.address() as AddressInfo).port}`))
