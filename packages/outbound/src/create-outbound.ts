import { abortError, Slots, systemClock, type Clock } from "@clarity-runtime/contracts"
import { dnsLookup, type Lookup } from "./connector.ts"
import { Exchange } from "./exchange.ts"
import { closed, invalid } from "./failures.ts"
import { createIdleWatch } from "./idle-watch.ts"
import { OutboundError, type Outbound, type OutboundRequest, type OutboundResponse } from "./outbound.ts"
import { createPools } from "./pools.ts"
import { checkHeaders, checkOrigin, checkUrl } from "./target.ts"

export interface OutboundOptions {
  /** Hosts that may be called, as `hostAllowed` reads them; absent: every host. Holds on every hop. */
  readonly allowedHosts?: readonly string[] | undefined
  /**
   * Hosts, as `hostAllowed` reads them, whose names may lead to private addresses where an operator typed them. Addresses
   * and names of no public zone (`mcp`, `mcp.internal`) may anyway.
   */
  readonly privateHosts?: readonly string[] | undefined
  readonly clock?: Clock
  /** Milliseconds for name, socket and TLS together; default 5,000. */
  readonly connectMs?: number
  /** Resolves names; default: the system's resolver. */
  readonly lookup?: Lookup
}

const redirects = new Set([301, 302, 303, 307, 308])
const maxHops = 5

/** Makes the client; it opens nothing before its first request. Disposing it ends every exchange under way. */
export function createOutbound(options: OutboundOptions = {}): Outbound {
  const { allowedHosts, privateHosts, clock = systemClock, connectMs = 5000, lookup = dnsLookup } = options
  const watch = createIdleWatch(clock)
  const inFlight = new Slots<Exchange>()
  const pools = createPools({
    clock,
    connectMs,
    lookup,
    privateHosts,
    check: (url, reach) => checkOrigin(url, reach, allowedHosts),
  })
  let disposed = false

  function exchange(request: OutboundRequest): Promise<OutboundResponse> {
    const { method, url, headers, body, signal } = request
    if (disposed) throw closed(false)
    if (signal.aborted) throw new OutboundError(abortError(signal), false)
    checkUrl(url)
    checkHeaders(headers)
    const entry = pools.of(url, request.reach)
    entry.busy++
    const one = new Exchange(request, {
      clock,
      watch,
      onOver(over) {
        inFlight.delete(over)
        if (--entry.busy === 0) entry.idleSince = clock.monotonic()
      },
    })
    inFlight.add(one)
    entry.pool.dispatch(
      {
        method,
        path: url.pathname + url.search,
        headers: "accept-encoding" in headers ? headers : { ...headers, "accept-encoding": "gzip, br" },
        body: body ?? null,
      },
      one,
    )
    return one.head
  }

  async function follow(request: OutboundRequest, first: OutboundResponse): Promise<OutboundResponse> {
    let response = first
    let url = request.url
    for (let hop = 0; redirects.has(response.status); hop++) {
      const { status } = response
      const location = response.headers["location"]
      response.discard()
      const next = location === undefined ? null : URL.parse(location, url.href)
      if (request.method !== "GET" || next === null || next.origin !== url.origin)
        throw redirectRefused(status, next && next.origin !== url.origin ? next.origin : undefined)
      if (hop >= maxHops) throw redirectRefused(status, `more than ${maxHops} hops`)
      url = next
      response = await exchange({ ...request, url })
    }
    return response
  }

  return {
    async request(request) {
      const response = await exchange(request)
      return redirects.has(response.status) ? follow(request, response) : response
    },
    async [Symbol.asyncDispose]() {
      disposed = true
      for (const one of inFlight) one.fail(closed(true))
      watch.close()
      await pools[Symbol.asyncDispose]()
    },
  }
}

function redirectRefused(status: number, where: string | undefined): OutboundError {
  const message = "the service answered with a redirect, which is not followed; register the address it points to"
  return invalid("redirect_refused", message, status, new Error(`HTTP ${status} to ${where ?? "nowhere"}`))
}
