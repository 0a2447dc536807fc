import {
  ClarityError,
  type Clock,
  type Credentials,
  type RefusedCredential,
  type ServiceLog,
} from "@clarity-runtime/contracts"
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
  /** Sees whether the credential can be had. Throws TransportError. */
  authorize(): Promise<void>
  /**
   * One exchange with the credential as it is now. When it is refused it is asked for anew, and the request repeated
   * once if it changed. Throws TransportError.
   */
  request(request: EndpointRequest): Promise<OutboundResponse>
}

/** Headers that say how we speak; a credential must not change them. */
const ownHeaders = new Set(
  "accept accept-encoding content-type cookie host last-event-id mcp-method mcp-name mcp-protocol-version mcp-session-id user-agent".split(
    " ",
  ),
)
const forbiddenInValue = /[^\t\x20-\x7e\x80-\xff]/
/** Characters of a challenge worth reading. */
const longestChallenge = 8192

type Headers = Readonly<Record<string, string>>
const none: Headers = {}

export function createEndpoint(options: EndpointOptions): Endpoint {
  const { url, serviceId, name, authRef, outbound, credentials, log } = options
  const target = { serviceId, origin: url.origin, name }
  /** The last headers that were found fit to be sent. */
  let checked: Headers | undefined

  async function credential(refused?: RefusedCredential): Promise<Headers> {
    if (authRef === undefined) return none
    const headers = await credentials.headers(authRef, target, refused)
    if (headers === checked) return headers
    for (const header in headers)
      if (ownHeaders.has(header.toLowerCase()) || forbiddenInValue.test(headers[header] ?? ""))
        throw new ClarityError(
          "upstream_unauthorized",
          `the credential ${authRef} of ${name} cannot be sent as a header`,
          {
            data: { service: name, reason: "invalid_credential" },
          },
        )
    return (checked = headers)
  }

  function once(request: EndpointRequest, held: Headers): Promise<OutboundResponse> {
    const address = request.url ?? url
    if (address.origin !== url.origin) throw new ClarityError("internal", `${name}: a request to another origin`)
    return outbound.request({
      ...request,
      url: address,
      headers: held === none ? request.headers : { ...request.headers, ...held },
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
        await credential()
      } catch (thrown) {
        throw asTransportError(thrown, name)
      }
    },
    async request(request) {
      try {
        const sent = await credential()
        const response = await once(request, sent)
        if (authRef === undefined || !mayBeRenewed(response)) return response
        const challenge = response.headers["www-authenticate"]?.slice(0, longestChallenge)
        const renewed = await credential({ sent, ...(challenge === undefined ? {} : { challenge }) }).catch(
          (thrown: unknown) => {
            response.discard()
            throw thrown
          },
        )
        if (sameHeaders(renewed, sent)) return response
        response.discard()
        return await once(request, renewed)
      } catch (thrown) {
        if (thrown instanceof OutboundError && !thrown.sent && thrown.error.code !== "cancelled")
          log.write("runtime", `${name}: ${thrown.message}`)
        throw asTransportError(thrown, name)
      }
    },
  }
}

/** A 401, or a 403 that asks for more scopes (RFC 6750, 3.1): asked for once, never again for the same request. */
function mayBeRenewed({ status, headers }: OutboundResponse): boolean {
  if (status === 401) return true
  return status === 403 && /\binsufficient_scope\b/.test(headers["www-authenticate"] ?? "")
}

function sameHeaders(a: Headers, b: Headers): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b)
}
