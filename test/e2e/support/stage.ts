import { randomUUID } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import type { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import { createActor } from "./actor.ts"
import type { Origin } from "./daemon.ts"
import { inSupport } from "./process.ts"

/** The directory by which a test sees and steers one actor. */
export interface Stage {
  readonly directory: string
  events(): string[]
  /** Lets held calls go, now or later. */
  release(...keys: string[]): void
  setTools(...names: string[]): void
  /** From now on the program does not start. */
  breakIt(): void
  mend(): void
}

export function stage(parent: string, name: string): Stage {
  const directory = join(parent, `stage-${name}`)
  mkdirSync(directory, { recursive: true })
  const file = (part: string) => join(directory, part)
  return {
    directory,
    events: () => (existsSync(file("events")) ? readFileSync(file("events"), "utf8").trim().split("\n") : []),
    release: (...keys) => keys.forEach((key) => writeFileSync(file(`${key}.go`), "")),
    setTools: (...names) => writeFileSync(file("tools.json"), JSON.stringify(names)),
    breakIt: () => writeFileSync(file("crash"), ""),
    mend: () => rmSync(file("crash"), { force: true }),
  }
}

/** The actor as a stdio service. */
export function stdioActor({ directory }: Stage, name = "actor", more: object = {}): Origin {
  return { type: "local_stdio", command: process.execPath, args: [inSupport("actor.ts"), directory, name], ...more }
}

/** An HTTP server in this process whose answers a test writes. */
export interface Upstream extends AsyncDisposable {
  readonly url: string
  /** Every request's body, and header names with values, as they arrived. */
  readonly seen: { body: string; headers: IncomingMessage["headers"] }[]
  /** Cuts every connection and stops listening. */
  kill(): Promise<void>
  /** Listens again, on the same port. */
  revive(): Promise<void>
}

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void

export async function serveRaw(handler: Handler): Promise<Upstream> {
  const seen: Upstream["seen"] = []
  let port = 0
  let server = createServer()
  const listen = () =>
    new Promise<void>((resolve, reject) => {
      server = createServer((request, response) => {
        const chunks: Buffer[] = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk))
        request.on("end", () => {
          const body = Buffer.concat(chunks).toString()
          seen.push({ body, headers: request.headers })
          handler(request, response, body)
        })
      })
      server.once("error", reject)
      server.listen(port, "127.0.0.1", resolve)
    })
  await listen()
  port = (server.address() as AddressInfo).port
  const kill = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { url: `http://127.0.0.1:${port}/mcp`, seen, kill, revive: listen, [Symbol.asyncDispose]: kill }
}

/** The actor as a streamable HTTP server with sessions. `die` cuts every connection and goes on. */
export async function serveActor({ directory }: Stage, name = "actor"): Promise<Upstream> {
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const upstream = await serveRaw((request, response, body) => {
    void answer(request, response, body)
  })
  async function answer(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const id = request.headers["mcp-session-id"]
    const known = sessions.get(String(id))
    if (id !== undefined && known === undefined) return void response.writeHead(404).end()
    const transport = known ?? (await open())
    await transport.handleRequest(request, response, body === "" ? undefined : JSON.parse(body))
  }
  async function open(): Promise<StreamableHTTPServerTransport> {
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (session) => void sessions.set(session, transport),
    })
    const die = (): never => {
      sessions.clear()
      void upstream.kill().then(() => upstream.revive())
      throw new Error("gone")
    }
    await createActor(directory, name, die).server.connect(transport as Parameters<Server["connect"]>[0])
    return transport
  }
  return upstream
}
