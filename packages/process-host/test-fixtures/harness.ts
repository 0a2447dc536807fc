import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import {
  ClarityError,
  namespaceOf,
  parseManifest,
  systemClock,
  type BackendServices,
  type Clock,
  type JsonObject,
} from "@clarity-runtime/contracts"
import type { Receiver, RpcMessage, Transport, TransportFailure } from "@clarity-runtime/mcp-peer"
import type { Launched, Launcher } from "../src/launcher.ts"
import { createStdioTransport } from "../src/stdio-transport.ts"
import type { StdioService } from "../src/working-directory.ts"

export const fixture = (name: string) => join(import.meta.dirname, name)

export interface OriginWords {
  readonly command?: string
  readonly args?: readonly string[]
  readonly env?: readonly JsonObject[]
  readonly cwd?: string
}

/** A service that runs the odd server in the given mode, or whatever `origin` says. */
export function oddService(mode: string, origin: OriginWords = {}): StdioService {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module: "Odd" },
    spec: {
      origin: { type: "local_stdio", command: process.execPath, args: [fixture("odd-server.mjs"), mode], ...origin },
    },
  })
  return { id: "svc_odd", namespace: namespaceOf(manifest), manifest } as StdioService
}

export interface Logged {
  readonly stream: string
  readonly text: string
}

export function testServices(words: Partial<BackendServices> = {}): BackendServices & { readonly logged: Logged[] } {
  const logged: Logged[] = []
  return {
    clock: systemClock,
    log: { write: (stream, text) => void logged.push({ stream, text }) },
    credentials: {
      headers: async () => ({}),
      secret: async (ref) => {
        if (ref !== "env:GOOD") throw new ClarityError("upstream_unauthorized", `no secret under ${ref}`)
        return "s3cret-value"
      },
    },
    isolationKey: "shared",
    logged,
    ...words,
  }
}

/** Five seconds pass in one. */
export const hastyClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now() * 5,
  sleep: (ms, signal) => systemClock.sleep(ms / 5, signal),
}

export interface Wire {
  readonly transport: Transport
  readonly launched: Launched
  readonly messages: RpcMessage[]
  readonly sizes: (number | undefined)[]
  /** Resolves when a message passes the test; rejects when the connection is lost first. */
  until(wanted: (message: RpcMessage) => boolean): Promise<RpcMessage>
  /** Sends a request and resolves to its answer. */
  ask(method: string, params?: JsonObject, options?: Parameters<Transport["send"]>[1]): Promise<RpcMessage>
  readonly closed: Promise<TransportFailure | undefined>
}

/** Starts a service and opens a transport to it, with the test as the peer. */
export async function connect(
  launcher: Launcher,
  service: StdioService,
  services = testServices(),
  startTimeoutMs = 30_000,
): Promise<Wire> {
  const messages: RpcMessage[] = []
  const sizes: (number | undefined)[] = []
  const waiting = new Set<() => void>()
  let lost: { failure: TransportFailure | undefined } | undefined
  const stir = () => [...waiting].forEach((look) => look())
  let close: (failure: TransportFailure | undefined) => void
  const closed = new Promise<TransportFailure | undefined>((resolve) => (close = resolve))
  const receiver: Receiver = {
    message(message, _related, bytes) {
      messages.push(message)
      sizes.push(bytes)
      stir()
    },
    ended() {},
    closed(failure) {
      lost = { failure }
      close(failure)
      stir()
    },
  }
  let launched: Launched | undefined
  const transport = createStdioTransport({
    service: service.namespace,
    start: async () => (launched = await launcher.launch(service, services, () => {})),
    clock: services.clock,
    log: services.log,
    startTimeoutMs,
  })
  await transport.open(receiver, new AbortController().signal)
  if (!launched) throw new Error("nothing was launched")
  const until: Wire["until"] = (wanted) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = messages.find(wanted)
        if (found) resolve(found)
        else if (lost) reject(lost.failure?.error ?? new Error("closed"))
        else return
        waiting.delete(look)
      }
      waiting.add(look)
      look()
    })
  let ids = 0
  return {
    transport,
    launched,
    messages,
    sizes,
    closed,
    until,
    async ask(method, params = {}, options = {}) {
      const id = ++ids
      await transport.send({ jsonrpc: "2.0", id, method, params }, options)
      return until((message) => message["id"] === id && !("method" in message))
    },
  }
}

/** True while the process runs; a zombie does not. */
export function lives(pid: number): boolean {
  if (existsSync("/proc/self/stat")) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
      return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2))
    } catch {
      return false
    }
  }
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Resolves when the process is gone; the test's own time-out is the limit. */
export async function gone(pid: number): Promise<void> {
  while (lives(pid)) await new Promise((resolve) => setTimeout(resolve, 20))
}
