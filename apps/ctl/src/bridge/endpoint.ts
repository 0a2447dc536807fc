import { ClarityError, systemClock, type Clock } from "@clarity-runtime/contracts"

export interface EndpointOptions {
  readonly url: string
  readonly token?: string
  readonly clock?: Clock
  /** How long to go on trying when nobody listens, milliseconds. Default 15 s. */
  readonly patienceMs?: number
}

export interface Exchange {
  readonly method: "GET" | "POST" | "DELETE"
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly signal: AbortSignal
}

/** The daemon's MCP endpoint. */
export interface Endpoint {
  readonly url: string
  /**
   * One HTTP exchange. While nobody listens, or a daemon that is starting or stopping answers 503, it is tried again:
   * nothing was done. Throws ClarityError `unavailable` when
   * the patience is over, `outcome_unknown` when the connection broke after the request may have been read.
   */
  send(exchange: Exchange): Promise<Response>
}

const accept = "application/json, text/event-stream"
const firstDelayMs = 50
const longestDelayMs = 1000

export function createEndpoint({ url, token, clock = systemClock, patienceMs = 15_000 }: EndpointOptions): Endpoint {
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return {
    url,
    async send({ method, headers, body, signal }) {
      const init = {
        method,
        headers: {
          accept,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...authorization,
          ...headers,
        },
        ...(body === undefined ? {} : { body }),
        redirect: "error" as const,
        signal,
      }
      const until = clock.monotonic() + patienceMs
      for (let delay = firstDelayMs; ; delay = Math.min(delay * 2, longestDelayMs)) {
        try {
          const response = await fetch(url, init)
          if (response.status !== 503 || clock.monotonic() + delay > until) return response
          await response.body?.cancel()
        } catch (error) {
          if (signal.aborted) throw new ClarityError("cancelled", "cancelled", { cause: error })
          if (!neverSent(error))
            throw new ClarityError("outcome_unknown", `the connection to ${url} broke`, { cause: error })
          if (clock.monotonic() + delay > until) {
            throw new ClarityError("unavailable", `daemon not reachable at ${url}`, { cause: error })
          }
        }
        await clock.sleep(delay, signal)
      }
    },
  }
}

const refusals = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
])

/** No connection came about, so nobody can have seen the request. */
function neverSent(error: unknown): boolean {
  const { cause } = error as { cause?: { code?: string; errors?: { code?: string }[] } }
  const codes = [cause?.code, ...(cause?.errors ?? []).map(({ code }) => code)].filter((code) => code !== undefined)
  return codes.length > 0 && codes.every((code) => refusals.has(code))
}
