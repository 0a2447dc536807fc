import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"

export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** Parsed, where there was one. */
  readonly body: { id?: unknown; method?: string; params?: Record<string, unknown> }
  readonly text: string
}

export interface Reply {
  /** One JSON answer. */
  json(value: unknown, status?: number, headers?: Record<string, string>): void
  /** An event stream: `send` an event, `end` it, or `cut` the connection. */
  stream(): { send(value: unknown, id?: string): void; end(): void; cut(): void }
  raw: ServerResponse
}

/** An HTTP server that does exactly what a test says. */
export async function fakeDaemon(answer: (seen: Seen, reply: Reply) => void, port = 0) {
  const seen: Seen[] = []
  const waiting: { fits: (request: Seen) => boolean; resolve: (request: Seen) => void }[] = []
  const sockets = new Set<Socket>()
  const server: Server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const text = Buffer.concat(chunks).toString()
    const { method = "", url = "", headers } = request
    const one: Seen = { method, url, headers, text, body: text === "" ? {} : JSON.parse(text) }
    seen.push(one)
    for (const { fits, resolve } of waiting) if (fits(one)) resolve(one)
    answer(one, {
      raw: response,
      json(value, status = 200, more = {}) {
        response
          .writeHead(status, { "content-type": "application/json", ...more })
          .end(value === undefined ? "" : JSON.stringify(value))
      },
      stream() {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders()
        return {
          send: (value, id) =>
            void response.write(`${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(value)}\n\n`),
          end: () => void response.end(),
          cut: () => void response.destroy(),
        }
      },
    })
  })
  server.on("connection", (socket) => sockets.add(socket.on("close", () => sockets.delete(socket))))
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  const at = (server.address() as AddressInfo).port
  return {
    seen,
    port: at,
    url: `http://127.0.0.1:${at}/mcp`,
    /** The first request, past or to come, that fits. */
    asked(fits: (request: Seen) => boolean): Promise<Seen> {
      const already = seen.find(fits)
      return already === undefined
        ? new Promise((resolve) => waiting.push({ fits, resolve }))
        : Promise.resolve(already)
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
