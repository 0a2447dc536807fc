import { ClarityError, type ErrorCode } from "@clarity-runtime/contracts"
import { errors } from "./undici-parts.ts"
import { AddressRefused } from "./connector.ts"
import { OutboundError } from "./outbound.ts"

/** The upstream answered, but not as HTTP and its bounds want it. */
export function invalid(reason: string, message: string, status?: number, cause?: unknown): OutboundError {
  return failure("upstream_invalid", message, { reason, sent: true, status, cause })
}

export function tooLarge(maxBytes: number, status: number): OutboundError {
  return failure("result_too_large", `the service's answer is larger than ${maxBytes} bytes`, { sent: true, status })
}

export function silent(idleMs: number, sent: boolean, status?: number): OutboundError {
  if (!sent) return unreachable(new Error(`no connection within ${idleMs} ms`))
  return failure("upstream_timeout", `the service sent nothing for ${idleMs} ms`, { reason: "idle", sent, status })
}

/** One text for refused, filtered, unknown and untrusted alike, so that nobody can scan ports with it; why is in the cause. */
export function unreachable(cause: unknown): OutboundError {
  return failure("unavailable", "the service could not be reached", { reason: "unreachable", sent: false, cause })
}

export function refused(reason: string, message: string, cause?: unknown): OutboundError {
  return failure("policy_denied", message, { reason, sent: false, cause })
}

export function closed(sent: boolean): OutboundError {
  return failure("unavailable", "the outbound client is closed", { reason: "closed", sent })
}

/** What undici or a socket threw, as ours. */
export function fromWire(thrown: unknown, sent: boolean, status: number | undefined): OutboundError {
  if (thrown instanceof OutboundError) return thrown
  if (thrown instanceof AddressRefused) {
    const what = thrown.metadata
      ? "is a cloud's metadata service, which may not be called"
      : "lies at a private address; if it is meant to, an operator names it in remote.privateHosts"
    return refused("address_refused", `the host of the service ${what}`, thrown)
  }
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : ""
  if (code === "UND_ERR_INVALID_ARG")
    return failure(
      "invalid_params",
      "the request cannot be sent as HTTP: a header or the path holds forbidden characters",
      {
        reason: "invalid_request",
        sent: false,
        cause: thrown,
      },
    )
  if (!sent) return unreachable(thrown)
  if (code === "UND_ERR_HEADERS_OVERFLOW")
    return invalid("headers_too_large", "the service's answer has too large a head", status, thrown)
  // A stream that ends in the middle is no malformed one: its connection broke.
  if (thrown instanceof errors.HTTPParserError && !thrown.message.includes("EOF"))
    return invalid("invalid_http", "the service's answer is not valid HTTP", status, thrown)
  return failure("unavailable", "the connection to the service broke before its answer was complete", {
    reason: "connection_lost",
    sent: true,
    status,
    cause: thrown,
  })
}

interface Details {
  readonly sent: boolean
  readonly reason?: string
  readonly status?: number | undefined
  readonly cause?: unknown
}

function failure(code: ErrorCode, message: string, { sent, reason, status, cause }: Details): OutboundError {
  const data = reason === undefined ? {} : { reason }
  return new OutboundError(
    new ClarityError(code, message, { data, ...(cause === undefined ? {} : { cause }) }),
    sent,
    status,
  )
}
