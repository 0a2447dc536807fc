import {
  ClarityError,
  isJsonObject,
  parseJson,
  type Clock,
  type ErrorCode,
  type RpcError,
} from "@clarity-runtime/contracts"
import { TransportError, type TransportFailure } from "@clarity-runtime/mcp-peer"
import { OutboundError, type OutboundResponse } from "@clarity-runtime/outbound"

const maxRetryAfterMs = 24 * 60 * 60 * 1000
/** Bodies of refusals worth reading to the end, so that their connection can be used again. */
const smallBody = 65_536

/** The service broke the protocol; `what` completes the sentence. */
export function invalid(name: string, what: string, reason: string, status?: number): TransportError {
  const error = new ClarityError("upstream_invalid", `${name} ${what}`, { data: { service: name, reason } })
  return new TransportError({ error, sent: true, ...(status === undefined ? {} : { status }) })
}

/** The answer stopped before the message that was waited for. */
export function brokenOff(name: string): TransportFailure {
  const message = `${name} closed the stream before its answer`
  return {
    error: new ClarityError("unavailable", message, { data: { service: name, reason: "stream_closed" } }),
    sent: true,
  }
}

export function notOpen(name: string): TransportError {
  const error = new ClarityError("unavailable", `${name} is not connected`, { data: { service: name } })
  return new TransportError({ error, sent: false })
}

/** Whatever went wrong below, as a transport says it, with the service named. */
export function asTransportError(thrown: unknown, name: string): TransportError {
  if (thrown instanceof TransportError) return thrown
  if (thrown instanceof OutboundError) {
    const { error, sent, status } = thrown
    const redirected = error.data.reason === "redirect_refused" && status !== undefined
    return new TransportError({ error: named(error, thrown, name), sent, ...(redirected ? { status } : {}) })
  }
  if (thrown instanceof ClarityError) return new TransportError({ error: thrown, sent: false })
  const error = new ClarityError("internal", `${name}: the transport failed`, { cause: thrown })
  return new TransportError({ error, sent: true })
}

function named(error: ClarityError, cause: unknown, name: string): ClarityError {
  if (!error.message.includes("the service")) return error
  const message = error.message.replaceAll("the service", name)
  return new ClarityError(error.code, message, { data: { ...error.data, service: name }, cause })
}

export interface RefusalContext {
  readonly name: string
  readonly clock: Clock
  /** The request belonged to a session. */
  readonly session: boolean
  /** The service has a credential. */
  readonly authorized: boolean
}

/** An answer whose status is no success, read to its end. */
export async function refusal(response: OutboundResponse, context: RefusalContext): Promise<TransportError> {
  const { status } = response
  const { name } = context
  const found = await rpcErrorIn(response)
  // A refusal of credentials is one whatever its body says.
  const rpc = status === 401 || status === 403 ? undefined : found
  const fail = (code: ErrorCode, what: string, data: { reason: string; [key: string]: unknown }) =>
    new TransportError({
      error: new ClarityError(code, `${name} ${what}`, { data: { service: name, ...data } }),
      sent: true,
      status,
      ...(rpc ? { rpc } : {}),
    })
  if (status === 401 || status === 403) {
    const login = `clarityctl auth login ${name}`
    const offersLogin = /\bresource_metadata\s*=/i.test(response.headers["www-authenticate"] ?? "")
    const missing = offersLogin ? `log in: ${login}` : "register the service with an authRef"
    const hint = context.authorized ? `check the secret behind authRef; for oauth: ${login}` : missing
    return fail("upstream_unauthorized", `refused the runtime's credentials (HTTP ${status})`, {
      reason: `http_${status}`,
      hint,
    })
  }
  if (context.session && endsSession(status, rpc)) return sessionLost(name)
  const later = retryAfter(response.headers["retry-after"], context.clock)
  const data = { reason: `http_${status}`, ...(later === undefined ? {} : { retryAfterMs: later }) }
  if (status === 429) return fail("rate_limited", "takes no more calls for now (HTTP 429)", data)
  if (status === 502 || status === 503) return fail("unavailable", `is not available (HTTP ${status})`, data)
  if (status === 408 || status === 504) return fail("upstream_timeout", `ran out of time (HTTP ${status})`, data)
  return fail("upstream_invalid", `answered with HTTP ${status}`, data)
}

/** 404 by the protocol (2025-03-26 and later); servers made after the SDK's examples say 400 with words. */
function endsSession(status: number, rpc: RpcError | undefined): boolean {
  return status === 404 || (status === 400 && rpc?.code === -32000 && /session/i.test(rpc.message))
}

/** The service knows the session no more, and has therefore done nothing. */
export function sessionLost(name: string): TransportError {
  const error = new ClarityError("unavailable", `${name} ended the session`, {
    data: { service: name, reason: "session_lost" },
  })
  return new TransportError({ error, sent: false, status: 404 })
}

/** Milliseconds from a Retry-After header, in seconds or as a date; at most a day; undefined for rubbish. */
function retryAfter(value: string | undefined, clock: Clock): number | undefined {
  if (value === undefined) return undefined
  const date = /^[A-Z][a-z]{2}/.test(value) ? Date.parse(value) : Number.NaN
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : date - clock.now()
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), maxRetryAfterMs)
}

async function rpcErrorIn(response: OutboundResponse): Promise<RpcError | undefined> {
  const text = await smallText(response)
  if (text === undefined || !isJson(response.headers["content-type"])) return undefined
  try {
    const body = parseJson(text)
    const error = isJsonObject(body) ? body["error"] : undefined
    if (!isJsonObject(error) || !Number.isInteger(error["code"]) || typeof error["message"] !== "string")
      return undefined
    const { code, message, data } = error
    return { code: code as number, message, ...(data === undefined ? {} : { data }) }
  } catch {
    return undefined // The status tells enough.
  }
}

/** Reads a body to its end if it is small, so that its connection can be used again; otherwise closes it. */
export async function smallText(response: OutboundResponse): Promise<string | undefined> {
  const length = Number(response.headers["content-length"] ?? 0)
  if (length > smallBody || isEventStream(response.headers["content-type"])) {
    response.discard()
    return undefined
  }
  try {
    return await response.text()
  } catch {
    return undefined // Nobody asked for it.
  }
}

export function isJson(contentType: string | undefined): boolean {
  return contentType !== undefined && /^\s*application\/(?:[\w.!#$&^+-]+\+)?json\s*(?:;|$)/i.test(contentType)
}

export function isEventStream(contentType: string | undefined): boolean {
  return contentType !== undefined && /^\s*text\/event-stream\s*(?:;|$)/i.test(contentType)
}

/** A content type as an error names it: printable, short. */
export function typeName(contentType: string | undefined): string {
  return contentType === undefined
    ? "no content type"
    : (/^[\w./+-]{1,64}/.exec(contentType.trim())?.[0] ?? "a malformed content type")
}
