import { createServer, type Server, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { isLoopback } from "@clarity-runtime/auth-providers"
import { ClarityError } from "@clarity-runtime/contracts"
import { createAdaptorServer } from "@hono/node-server"

export interface Listening extends AsyncDisposable {
  readonly port: number
  readonly addresses: readonly string[]
  /** Requests whose answers, streams included, are not finished. */
  readonly inFlight: number
  /** Takes no new connections, lets every answer close its own, and resolves when none is in flight or after `maxMs`. */
  drain(maxMs: number): Promise<void>
}

export interface ConnectionLimits {
  /** Connections at once; more are closed as they come. */
  readonly total: number
  /** Of one address; loopback is exempt, for everybody on this machine shares it. */
  readonly perAddress: number
}

export const defaultConnectionLimits: ConnectionLimits = { total: 4096, perAddress: 256 }

type Fetch = (request: Request, env: unknown) => Response | Promise<Response>

// A slow writer of headers or body is cut off; Node looks once a second (security bounds, docs/security.md).
const serverOptions = {
  headersTimeout: 5000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 75_000,
  maxHeaderSize: 16_384,
}

/**
 * Listens on one address, or without one on both loopback addresses (IPv6 only where the machine has it), all on the
 * same port. Throws ClarityError `config_error` that says what to do when the port is taken or may not be used.
 */
export async function listen(
  fetch: Fetch,
  host: string | undefined,
  port: number,
  connections: ConnectionLimits = defaultConnectionLimits,
): Promise<Listening> {
  const traffic = createTraffic()
  const admit = createTurnstile(connections)
  const openAt = async (address: string, at: number) => {
    const server = await open(fetch, traffic, address, at)
    server.on("connection", admit)
    return server
  }
  const first = await openAt(host ?? "127.0.0.1", port)
  const bound = (first.address() as AddressInfo).port
  const servers = [first]
  if (host === undefined) {
    const second = await openAt("::1", bound).catch(() => undefined)
    if (second !== undefined) servers.push(second)
  }
  return {
    port: bound,
    addresses: servers.map((server) => (server.address() as AddressInfo).address),
    get inFlight() {
      return traffic.count
    },
    drain(maxMs) {
      traffic.draining = true
      for (const server of servers) {
        server.close()
        server.closeIdleConnections()
      }
      return traffic.quiet(maxMs)
    },
    async [Symbol.asyncDispose]() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}

/** Lets connections in up to their limits, counted over all servers together. */
function createTurnstile({ total, perAddress }: ConnectionLimits): (socket: Socket) => void {
  const open = new Map<string, number>()
  let all = 0
  return (socket) => {
    const address = socket.remoteAddress ?? ""
    const mine = open.get(address) ?? 0
    if (all >= total || (mine >= perAddress && !isLoopback(address))) return void socket.destroy()
    all++
    open.set(address, mine + 1)
    socket.once("close", () => {
      all--
      const rest = (open.get(address) ?? 1) - 1
      if (rest > 0) open.set(address, rest)
      else open.delete(address)
    })
  }
}

interface Traffic {
  count: number
  draining: boolean
  watch(response: ServerResponse): void
  quiet(maxMs: number): Promise<void>
}

function createTraffic(): Traffic {
  let quiet: (() => void) | undefined
  const traffic: Traffic = {
    count: 0,
    draining: false,
    watch(response) {
      traffic.count++
      // A connection kept alive would bring new requests for as long as its client likes.
      if (traffic.draining) response.setHeader("connection", "close")
      response.once("close", () => {
        traffic.count--
        if (traffic.count === 0) quiet?.()
      })
    },
    quiet: (maxMs) =>
      new Promise((resolve) => {
        if (traffic.count === 0) return resolve()
        const timer = setTimeout(resolve, maxMs)
        quiet = () => {
          clearTimeout(timer)
          resolve()
        }
      }),
  }
  return traffic
}

function open(fetch: Fetch, traffic: Traffic, host: string, port: number): Promise<Server> {
  // The adaptor's own Response, made global here, is written to the socket without passing through a stream.
  const server = createAdaptorServer({ fetch, createServer, serverOptions }) as Server
  server.maxHeadersCount = 100
  server.prependListener("request", (_request, response) => traffic.watch(response))
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(cannotListen(error, host, port)))
    server.listen({ host, port, backlog: 1024 }, () => resolve(server))
  })
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): ClarityError {
  const why: Record<string, string> = {
    EADDRINUSE: `port ${port} on ${host} is taken by another program. Stop that one, or start clarityd with --port and another number.`,
    EACCES: `this user may not listen on port ${port}. Choose one above 1023 with --port.`,
    EADDRNOTAVAIL: `this machine has no address ${host}. Choose another with --host.`,
    ENOTFOUND: `the host name ${host} is not known. Choose an address with --host.`,
  }
  return new ClarityError("config_error", `cannot listen: ${why[error.code ?? ""] ?? error.code ?? "unknown error"}`, {
    cause: error,
  })
}
