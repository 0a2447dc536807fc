import { ClarityError, type HeaderReader } from "@clarity-runtime/contracts"
import type { NodeBindings } from "./http.ts"

export interface GateOptions {
  /** Host names (no port) a request may be addressed to, beside the loopback ones; `"any"` switches the check off. */
  readonly allowedHosts?: readonly string[] | "any"
  /** Origins (`https://app.example`) of web pages that may call, beside the endpoint's own. */
  readonly allowedOrigins?: readonly string[]
}

const loopbackNames = new Set(["localhost", "127.0.0.1", "[::1]"])

/**
 * Is this request addressed to us, and not sent by a foreign web page? Looks at headers only, before a byte of the
 * body is read: Host against DNS rebinding, Origin and Sec-Fetch-Site against cross-site requests (MCP 2026-07-28,
 * Streamable HTTP, security). Throws ClarityError `forbidden` or `invalid_request`.
 */
export function createGate(options: GateOptions): (headers: HeaderReader, env: NodeBindings | undefined) => void {
  const hosts =
    options.allowedHosts === "any"
      ? undefined
      : new Set([...loopbackNames, ...(options.allowedHosts ?? [])].map((host) => inHeader(host.toLowerCase())))
  const origins = new Set((options.allowedOrigins ?? []).map((origin) => origin.toLowerCase()))

  return (headers, env) => {
    if (env?.incoming !== undefined && countHeader(env.incoming.rawHeaders, "host") > 1) {
      throw new ClarityError("invalid_request", "the request has more than one Host header")
    }
    const host = (headers.get("host") ?? "").toLowerCase()
    if (hosts !== undefined && !hosts.has(hostName(host))) {
      throw new ClarityError("forbidden", "this Host is not served here", { data: { reason: "host_rejected" } })
    }
    const origin = headers.get("origin")
    if (origin !== null && !origins.has(origin.toLowerCase()) && !sameHost(origin, host)) {
      throw new ClarityError("forbidden", "this Origin may not call", { data: { reason: "origin_rejected" } })
    }
    if (origin === null && headers.get("sec-fetch-site") === "cross-site") {
      throw new ClarityError("forbidden", "cross-site requests are not served", { data: { reason: "origin_rejected" } })
    }
  }
}

/** A body must be uncompressed JSON. Throws `unsupported_media_type`. */
export function checkBodyType(headers: HeaderReader): void {
  const type = headers.get("content-type") ?? ""
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ClarityError("unsupported_media_type", "the content type must be application/json")
  }
  const encoding = headers.get("content-encoding")
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    throw new ClarityError("unsupported_media_type", "a compressed request body is not accepted")
  }
}

/** An IPv6 address stands in brackets there (RFC 3986, 3.2.2). */
function inHeader(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host
}

function hostName(host: string): string {
  return /^(\[[0-9a-f:.]+\]|[^:]+)(?::\d{1,5})?$/.exec(host)?.[1] ?? ""
}

function sameHost(origin: string, host: string): boolean {
  const parsed = URL.parse(origin)
  return (
    parsed !== null &&
    /^https?:$/.test(parsed.protocol) &&
    parsed.origin === origin.toLowerCase() &&
    parsed.host === host
  )
}

function countHeader(raw: readonly string[], name: string): number {
  let count = 0
  for (let i = 0; i < raw.length; i += 2) if (raw[i]?.length === name.length && raw[i]?.toLowerCase() === name) count++
  return count
}
