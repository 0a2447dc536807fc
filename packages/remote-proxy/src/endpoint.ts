import { ClarityError, type Clock, type Credentials, type ServiceLog } from "@clarity-runtime/contracts"
import type { Outbound, OutboundRequest, OutboundResponse } from "@clarity-runtime/outbound"
import { OutboundError } from "@clarity-runtime/outbound"
import { asTransportError } from "./failures.ts"

export interface EndpointOptions {
  readonly url: URL
  readonly serviceId: string
  /** What messages call the service. */
  readonly name: string
  readonly authRef: string | undefined
  readonly outbound: Outbound
  readonly credentials: Credentials
  readonly clock: Clock
  readonly log: ServiceLog
}

export interface EndpointRequest extends Pick<
  OutboundRequest,
  "method" | "headers" | "body" | "signal" | "idleMs" | "maxBytes"
> {
  /** Another address at the same origin. */
  readonly url?: URL
}

/** The address of one service with the credential that goes there and nowhere else. */
export interface Endpoint {
  readonly url: URL
  readonly name: string
  readonly authorized: boolean
  /** Fetches the credential. Throws TransportError. */
  authorize(): Promise<void>
  /** One exchange. A 401 makes the credential be fetched anew, and the request repeated once if it changed. Throws TransportError. */
  request(request: EndpointRequest): Promise<OutboundResponse>
}

/** Headers that say how we speak; a credential must not change them. */
const ownHeaders = new Set(
  "accept accept-encoding content-type cookie host last-event-id mcp-method mcp-name mcp-protocol-version mcp-session-id user-agent".split(
    " ",
  ),
)
const forbiddenInValue = /[^\t\x20-\x7e\x80-\xff]/

export function createEndpoint(options: EndpointOptions): Endpoint {
  const { url, serviceId, name, authRef, outbound, credentials, log } = options
  let held: Readonly<Record<string, string>> = {}
  let fetched = 0
  let fetching: Promise<void> | undefined

  async function fetchCredential(): Promise<void> {
    if (authRef === undefined) return
    const headers = await credentials.headers(authRef, { serviceId, origin: url.origin })
    for (const header in headers)
      if (ownHeaders.has(header.toLowerCase()) || forbiddenInValue.test(headers[header] ?? ""))
        throw new ClarityError(
          "upstream_unauthorized",
          `the credential ${authRef} of ${name} cannot be sent as a header`,
          {
            data: { service: name, reason: "invalid_credential" },
          },
        )
    if (JSON.stringify(headers) === JSON.stringify(held)) return
    held = headers
    fetched++
  }

  /** One fetch at a time, however many requests were refused. */
  function refresh(): Promise<void> {
    fetching ??= fetchCredential().finally(() => (fetching = undefined))
    return fetching
  }

  function once(request: EndpointRequest): Promise<OutboundResponse> {
    const target = request.url ?? url
    if (target.origin !== url.origin) throw new ClarityError("internal", `${name}: a request to another origin`)
    return outbound.request({
      ...request,
      url: target,
      headers: authRef === undefined ? request.headers : { ...request.headers, ...held },
      // An operator typed this host.
      reach: "any",
    })
  }

  return {
    url,
    name,
    authorized: authRef !== undefined,
    async authorize() {
      try {
        await refresh()
      } catch (thrown) {
        throw asTransportError(thrown, name)
      }
    },
    async request(request) {
      try {
        const before = fetched
        const response = await once(request)
        if (response.status !== 401 || authRef === undefined) return response
        if (fetched === before) await refresh()
        if (fetched === before) return response
        response.discard()
        return await once(request)
      } catch (thrown) {
        if (thrown instanceof OutboundError && !thrown.sent && thrown.error.code !== "cancelled")
          log.write("runtime", `${name}: ${thrown.message}`)
        throw asTransportError(thrown, name)
      }
    },
  }
}
