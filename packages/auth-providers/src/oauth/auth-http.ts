import { ClarityError } from "@clarity-runtime/contracts"
import type { Outbound, OutboundResponse } from "@clarity-runtime/outbound"

/** What an upstream says of itself is bounded: bytes of an answer, milliseconds of silence, characters of a URL. */
export const maxAnswerBytes = 1_048_576
const idleMs = 10_000
const maxUrl = 2048

export interface AuthHttpOptions {
  readonly outbound: Outbound
  /** URLs an operator typed: their hosts may be private, and plain http where it was typed so. Everything else is https and public. */
  readonly typed: readonly URL[]
  readonly signal: AbortSignal
}

/** Requests to authorization servers and for metadata, whose addresses are named by the upstream: not to be trusted. */
export interface AuthHttp {
  /** Throws ClarityError (`upstream_invalid`) saying `what` is wrong, without dialling anything. */
  check(url: unknown, what: string): URL
  /** Throws ClarityError, OutboundError. */
  send(request: AuthRequest): Promise<OutboundResponse>
  /** For oauth4webapi: the same as the web's `fetch`. */
  readonly fetch: (url: string, options: FetchOptions) => Promise<Response>
}

export interface AuthRequest {
  readonly method: "GET" | "POST"
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

interface FetchOptions {
  readonly method: string
  readonly headers: Record<string, string>
  readonly body?: unknown
}

export function authHttp({ outbound, typed, signal }: AuthHttpOptions): AuthHttp {
  const typedAs = (url: URL) =>
    typed.filter((one) => one.hostname === url.hostname || (isLoopback(one.hostname) && isLoopback(url.hostname)))

  function check(text: unknown, what: string): URL {
    const url = typeof text === "string" && text.length <= maxUrl ? URL.parse(text) : null
    const wrong = (why: string) =>
      new ClarityError("upstream_invalid", `${what} ${why}`, { data: { reason: "bad_url" } })
    if (url === null) throw wrong(`is not a URL of at most ${maxUrl} characters`)
    if (url.username !== "" || url.password !== "" || url.hash !== "") throw wrong("carries credentials or a fragment")
    const plain = url.protocol === "http:" && typedAs(url).some(({ protocol }) => protocol === "http:")
    if (url.protocol !== "https:" && !plain) throw wrong("is not https")
    return url
  }

  function send({ method, url, headers, body }: AuthRequest): Promise<OutboundResponse> {
    return outbound.request({
      method,
      url,
      headers: { "user-agent": "clarity-runtime", ...headers },
      ...(body === undefined ? {} : { body }),
      signal,
      idleMs,
      maxBytes: maxAnswerBytes,
      reach: typedAs(url).length > 0 ? "any" : "public",
    })
  }

  return {
    check,
    send,
    async fetch(address, { method, headers, body }) {
      if (method !== "GET" && method !== "POST") throw new ClarityError("internal", `${method} is not used here`)
      const url = check(address, "an address of the authorization server")
      const { host: _, "user-agent": __, ...rest } = headers
      const response = await send({
        method,
        url,
        headers: rest,
        ...(body === undefined || body === null ? {} : { body: String(body) }),
      })
      const text = await response.text()
      const given = ["content-type", "www-authenticate", "cache-control"].flatMap((name): [string, string][] => {
        const value = response.headers[name]
        return value === undefined ? [] : [[name, value]]
      })
      return new Response(nullBody.has(response.status) ? null : text, { status: response.status, headers: given })
    },
  }
}

const nullBody = new Set([204, 205, 304])

export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d+){3}$/.test(hostname)
}
