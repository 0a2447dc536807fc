import { once } from "node:events"
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http"
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net"

/** A server that does what a test tells it; every request it saw is kept. */
export interface TestServer extends AsyncDisposable {
  readonly url: URL
  readonly sockets: ReadonlySet<Socket>
  readonly seen: SeenRequest[]
}

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: Record<string, unknown> | undefined
}

export type Answer = (seen: SeenRequest, response: ServerResponse, request: IncomingMessage) => unknown

/** Reads each request to its end, then answers. */
export async function serve(answer: Answer): Promise<TestServer> {
  const seen: SeenRequest[] = []
  const listener: RequestListener = async (request, response) => {
    let text = ""
    for await (const chunk of request) text += String(chunk)
    const one = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body: text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>),
    }
    seen.push(one)
    await answer(one, response, request)
  }
  return listen(
    createServer((request, response) => void listener(request, response)),
    seen,
  )
}

/** Raw sockets, for what no HTTP server would do. */
export function serveRaw(onSocket: (socket: Socket) => void): Promise<TestServer> {
  return listen(createTcpServer(onSocket), [])
}

async function listen(server: Server, seen: SeenRequest[]): Promise<TestServer> {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => sockets.delete(socket))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`),
    sockets,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
}

export function stream(response: ServerResponse): ServerResponse {
  response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders()
  return response
}

export function event(message: unknown, id?: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: message\ndata: ${JSON.stringify(message)}\n\n`
}

export const result = (id: unknown, value: unknown = {}) => ({ jsonrpc: "2.0", id, result: value })
