import {
  ClarityError,
  hostAllowed,
  limitsOf,
  type Backend,
  type BackendFactory,
  type BackendServices,
  type CallLimits,
  type Clock,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import { createPeer, failureOf, type Retries, type Transport } from "@clarity-runtime/mcp-peer"
import { createOutbound, type Outbound } from "@clarity-runtime/outbound"
import { createEndpoint, type EndpointOptions } from "./endpoint.ts"
import { httpSse } from "./http-sse.ts"
import { streamableHttp, type TransportOptions } from "./streamable-http.ts"

export interface RemoteOptions {
  /** The client to call through; absent: one of our own, made on first use and disposed with the factory. */
  readonly outbound?: Outbound | undefined
  /** Hosts that may be called (`CLARITY_REMOTE_ALLOWED_HOSTS`), as `hostAllowed` reads them; absent: every host. */
  readonly allowedHosts?: readonly string[] | undefined
  /** Repetitions of reading and idempotent calls after failures of the network and HTTP 5xx; absent: none. */
  readonly retries?: Retries | undefined
  /** For messages that are not calls: silence in milliseconds (20,000) and bytes of an answer (16 MiB). */
  readonly defaults?: Partial<Pick<CallLimits, "idleMs" | "maxResultBytes">> | undefined
}

const usual = { idleMs: 20_000, maxResultBytes: 16 * 1024 * 1024 }
/** What servers that speak only HTTP+SSE answer to a POST at the address of their stream. */
const noPostHere = new Set([400, 404, 405])

/** Makes backends of remote MCP servers: streamable HTTP in both protocol eras, and HTTP+SSE. */
export function remoteBackends(options: RemoteOptions = {}): BackendFactory<"remote_mcp"> & AsyncDisposable {
  const { allowedHosts } = options
  let own: Outbound | undefined
  /** Services found to speak HTTP+SSE although registered for streamable HTTP. */
  const speakSse = new Set<string>()

  function outboundFor(clock: Clock): Outbound {
    return options.outbound ?? (own ??= createOutbound({ allowedHosts, clock }))
  }

  async function open(
    service: Parameters<BackendFactory<"remote_mcp">["open"]>[0],
    services: BackendServices,
    signal: AbortSignal,
  ): Promise<Backend> {
    const { origin, era } = service.manifest.spec
    const { clock, log, credentials, remembered } = services
    const { timeoutMs } = limitsOf(service.manifest)
    const target: EndpointOptions = {
      url: checkedUrl(service, allowedHosts),
      serviceId: service.id,
      name: service.namespace,
      authRef: origin.authRef,
      outbound: outboundFor(clock),
      credentials,
      clock,
      log,
    }
    const defaults = { ...usual, ...(timeoutMs === undefined ? {} : { idleMs: timeoutMs }), ...options.defaults }

    function connect(transport: (options: TransportOptions) => Transport): Promise<Backend> {
      const dial = () => transport({ endpoint: createEndpoint(target), clock, log, defaults })
      return createPeer(
        { service, dial, clock, log, retries: options.retries, ...(remembered ? { remembered } : {}) },
        signal,
      )
    }

    if (origin.transport === "sse_http") return connect(httpSse)
    if (speakSse.has(service.id)) {
      try {
        return await connect(httpSse)
      } catch (thrown) {
        if (signal.aborted || failureOf(thrown)?.status === undefined) throw thrown
        speakSse.delete(service.id)
      }
    }
    try {
      return await connect(streamableHttp)
    } catch (thrown) {
      const status = failureOf(thrown)?.status
      if (signal.aborted || era === "modern" || status === undefined || !noPostHere.has(status)) throw thrown
      const backend = await connect(httpSse).catch((second: unknown) => {
        throw neither(service.namespace, status, thrown, second)
      })
      log.write(
        "runtime",
        `${service.namespace}: speaks HTTP+SSE; register it with transport sse_http to spare the probe`,
      )
      speakSse.add(service.id)
      return backend
    }
  }

  return {
    type: "remote_mcp",
    open,
    async inspect(service) {
      checkedUrl(service, allowedHosts)
    },
    async [Symbol.asyncDispose]() {
      const outbound = own
      own = undefined
      await outbound?.[Symbol.asyncDispose]()
    },
  }
}

function checkedUrl(service: ServiceDefinition, allowedHosts: readonly string[] | undefined): URL {
  const { origin } = service.manifest.spec
  const data = { service: service.namespace }
  const url = origin.type === "remote_mcp" ? URL.parse(origin.endpoint) : null
  if (url === null)
    throw new ClarityError("invalid_manifest", `${service.namespace} has no endpoint that is a URL`, { data })
  if (hostAllowed(allowedHosts, url)) return url
  const message = `remote endpoint host '${url.hostname}' is not in CLARITY_REMOTE_ALLOWED_HOSTS`
  throw new ClarityError("policy_denied", message, { data: { ...data, reason: "host_not_allowed" } })
}

/** Neither transport works. That HTTP+SSE got further than a plain "not here" is the better news. */
function neither(name: string, status: number, first: unknown, second: unknown): unknown {
  const further = failureOf(second)
  const nothingHere =
    further !== undefined &&
    (further.error.data.reason === "content_type" || (further.status !== undefined && noPostHere.has(further.status)))
  if (!nothingHere || !(first instanceof ClarityError)) return second
  return new ClarityError(first.code, `${name} answered with HTTP ${status}: no MCP server at this address`, {
    data: { ...first.data, service: name, hint: "check the path of the endpoint; /mcp and /sse are usual" },
    cause: first.cause,
  })
}
