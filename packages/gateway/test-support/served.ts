import type { AddressInfo } from "node:net"
import {
  ClarityError,
  type Backend,
  type CallContext,
  type CallOutcome,
  type Interface,
  type McpRequest,
  type Permit,
  type Policy,
  type Principal,
  type Reply,
  type ServiceManifest,
  type TimelineEvent,
} from "@clarity-runtime/contracts"
import { serve } from "@hono/node-server"
import { createGateway, fixedSource, type FixedService, type Gateway, type GatewayOptions } from "../src/index.ts"

export type Tool = (args: Record<string, unknown>, context: CallContext, request: McpRequest) => Reply | unknown

export interface FakeService {
  readonly namespace: string
  readonly tools?: Record<string, Tool>
  readonly face?: Partial<Interface>
  readonly call?: (request: McpRequest, context: CallContext) => Reply
  readonly watch?: Backend["watch"]
  readonly parks?: (state: string) => boolean
  readonly unpark?: (state: string) => void
  readonly prefix?: "always" | "on-collision"
}

export function manifest(module: string, prefix: "always" | "on-collision" = "always"): ServiceManifest {
  return {
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: `https://example.com/${module}`, module, serviceType: "mcp" },
    spec: {
      origin: { type: "remote_mcp", endpoint: `https://example.com/${module}`, transport: "streamable_http" },
      enabled: true,
      autostart: true,
      restartPolicy: { mode: "on-failure", maxRestarts: 5, windowSeconds: 60 },
      policyRef: "default",
      start: "eager",
      isolation: "shared",
      era: "match",
      prefix,
    },
  }
}

export function fake(service: FakeService): FixedService {
  const tools = service.tools ?? {}
  const face: Interface = {
    tools: Object.keys(tools).map((name) => ({ name, inputSchema: { type: "object" } })),
    resources: [],
    resourceTemplates: [],
    prompts: [],
    capabilities: { tools: {} },
    ...service.face,
  }
  async function* callTool(request: McpRequest, context: CallContext): Reply {
    const tool = tools[String(request.params["name"])]
    if (tool === undefined) throw new ClarityError("invalid_params", `unknown tool: ${String(request.params["name"])}`)
    const made = await tool((request.params["arguments"] ?? {}) as Record<string, unknown>, context, request)
    if (typeof made === "object" && made !== null && Symbol.asyncIterator in made) return yield* made as Reply
    return typeof made === "string" ? { content: [{ type: "text", text: made }] } : (made as Record<string, unknown>)
  }
  const backend: Backend = {
    describe: async () => face,
    call: service.call ?? callTool,
    ...(service.watch ? { watch: service.watch } : {}),
    ...(service.parks ? { parks: service.parks } : {}),
    ...(service.unpark ? { unpark: service.unpark } : {}),
    async [Symbol.asyncDispose]() {},
  }
  return {
    definition: {
      id: `svc_${service.namespace}`,
      namespace: service.namespace,
      manifest: manifest(service.namespace, service.prefix),
    },
    backend,
    interface: face,
  }
}

export const everyone: Principal = { id: "everyone", kind: "anonymous", scopes: ["admin"] }

export interface OpenPolicy extends Policy {
  readonly settled: CallOutcome[]
  readonly suspended: number
}

/** Lets everything through and remembers how it ended. */
export function openPolicy(totalMs = 20_000): OpenPolicy {
  const settled: CallOutcome[] = []
  let suspended = 0
  return {
    settled,
    get suspended() {
      return suspended
    },
    admit() {
      let open = true
      const permit: Permit = {
        limits: { idleMs: 20_000, totalMs, maxResultBytes: 1 << 24 },
        settle: (outcome) => {
          if (open) settled.push(outcome)
          open = false
        },
        suspend: () => void suspended++,
        resume: async () => void suspended--,
      }
      return { kind: "permit", permit }
    },
  }
}

export interface Served extends AsyncDisposable {
  readonly url: string
  readonly gateway: Gateway
  readonly policy: OpenPolicy
  readonly events: TimelineEvent[]
  post(body: unknown, headers?: Record<string, string>, path?: string): Promise<Response>
}

/** A gateway over real HTTP. */
export async function served(services: readonly FakeService[], options: Partial<GatewayOptions> = {}): Promise<Served> {
  const policy = openPolicy()
  const events: TimelineEvent[] = []
  const gateway = createGateway({
    source: fixedSource(services.map(fake)),
    authenticators: [{ authenticate: () => everyone }],
    policy,
    telemetry: { record: (event) => void events.push(event), logOf: () => ({ write: () => {} }) },
    ...options,
  })
  const server = await new Promise<ReturnType<typeof serve>>((resolve) => {
    const made = serve({ fetch: (request, env) => gateway.fetch(request, env), port: 0, hostname: "127.0.0.1" }, () =>
      resolve(made),
    )
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
  return {
    url,
    gateway,
    policy,
    events,
    post: (body, headers = {}, path = "") =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]()
      await new Promise((resolve) => {
        server.close(resolve)
        if ("closeAllConnections" in server) server.closeAllConnections()
      })
    },
  }
}

export const modernMeta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
}

/** Sends one modern request with the headers it needs. */
export function modern(
  at: Served,
  method: string,
  params: Record<string, unknown> = {},
  extra: { meta?: object; headers?: Record<string, string>; path?: string } = {},
): Promise<Response> {
  const named = params["name"] ?? params["uri"]
  const headers = {
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": method,
    ...(["tools/call", "prompts/get", "resources/read"].includes(method) && typeof named === "string"
      ? { "mcp-name": named }
      : {}),
    ...extra.headers,
  }
  return at.post(
    { jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: { ...modernMeta, ...extra.meta } } },
    headers,
    extra.path,
  )
}

/** The messages of an answer, whether JSON or a stream. */
export async function messages(response: Response): Promise<Record<string, any>[]> {
  const text = await response.text()
  if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true)
    return text === "" ? [] : [JSON.parse(text)]
  return text
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => JSON.parse(line.slice(6)))
}
