import type { JsonObject } from "./json.ts"

/**
 * Every error of the runtime's own: `rpc` is the JSON-RPC number (ours are positive, outside the reserved range),
 * `http` the status, `exit` the CLI's exit code, `retryable` whether the same call may work later.
 * docs/errors.md is generated from this table.
 */
export const errorTable = {
  parse_error: { rpc: -32700, http: 400, exit: 1, retryable: false, means: "The body is not valid JSON." },
  invalid_request: { rpc: -32600, http: 400, exit: 1, retryable: false, means: "The message is not a valid request." },
  method_not_found: { rpc: -32601, http: 404, exit: 1, retryable: false, means: "No such method here." },
  invalid_params: {
    rpc: -32602,
    http: 400,
    exit: 1,
    retryable: false,
    means: "A parameter is missing, unknown or of the wrong form.",
  },
  internal: {
    rpc: -32603,
    http: 500,
    exit: 70,
    retryable: false,
    means: "A fault of the runtime itself; its log has the details.",
  },
  header_mismatch: {
    rpc: -32020,
    http: 400,
    exit: 1,
    retryable: false,
    means: "An MCP header is missing or differs from the body.",
  },
  capability_missing: {
    rpc: -32021,
    http: 400,
    exit: 1,
    retryable: false,
    means: "The call needs something this client did not declare.",
  },
  version_unsupported: {
    rpc: -32022,
    http: 400,
    exit: 1,
    retryable: false,
    means: "This protocol version is not served.",
  },
  unauthorized: { rpc: 40100, http: 401, exit: 77, retryable: false, means: "No valid credentials were presented." },
  forbidden: {
    rpc: 40301,
    http: 403,
    exit: 77,
    retryable: false,
    means: "The caller, Host or Origin is not allowed here.",
  },
  policy_denied: { rpc: 40300, http: 403, exit: 77, retryable: false, means: "A policy rule says no." },
  not_found: { rpc: 40400, http: 404, exit: 1, retryable: false, means: "No such thing is registered." },
  conflict: {
    rpc: 40900,
    http: 409,
    exit: 1,
    retryable: false,
    means: "The state does not allow this, or it changed meanwhile.",
  },
  payload_too_large: {
    rpc: 41301,
    http: 413,
    exit: 1,
    retryable: false,
    means: "The request is larger than its limit.",
  },
  result_too_large: {
    rpc: 41300,
    http: 502,
    exit: 1,
    retryable: false,
    means: "The service's answer is larger than its limit.",
  },
  unsupported_media_type: {
    rpc: 41500,
    http: 415,
    exit: 1,
    retryable: false,
    means: "The body must be uncompressed application/json.",
  },
  invalid_manifest: { rpc: 42200, http: 422, exit: 65, retryable: false, means: "The manifest breaks its schema." },
  rate_limited: { rpc: 42900, http: 429, exit: 75, retryable: true, means: "Too many calls at once; try again later." },
  upstream_invalid: { rpc: 50200, http: 502, exit: 69, retryable: false, means: "The service broke the protocol." },
  upstream_unauthorized: {
    rpc: 50201,
    http: 502,
    exit: 69,
    retryable: false,
    means: "The service refused the runtime's credentials.",
  },
  outcome_unknown: {
    rpc: 50202,
    http: 502,
    exit: 69,
    retryable: false,
    means: "The service went away after the call was sent: it may have been executed.",
  },
  unavailable: {
    rpc: 50300,
    http: 503,
    exit: 69,
    retryable: true,
    means: "The service or the daemon cannot take the call now.",
  },
  upstream_timeout: { rpc: 50400, http: 504, exit: 75, retryable: true, means: "The service did not answer in time." },
  storage_error: {
    rpc: 50700,
    http: 507,
    exit: 74,
    retryable: true,
    means: "The change could not be written; nothing was changed.",
  },
  cancelled: { rpc: 49900, http: 499, exit: 130, retryable: false, means: "The caller went away or cancelled." },
  config_error: { rpc: 50001, http: 500, exit: 78, retryable: false, means: "The configuration is wrong." },
} as const satisfies Record<string, ErrorEntry>

export interface ErrorEntry {
  readonly rpc: number
  readonly http: number
  readonly exit: number
  readonly retryable: boolean
  readonly means: string
}

export type ErrorCode = keyof typeof errorTable

/** What a caller may see besides the message. Never an upstream URL with query, a header, a secret or a stack. */
export interface ErrorData extends JsonObject {
  service?: string
  reason?: string
  retryAfterMs?: number
}

/** An error as another JSON-RPC peer gave it, to be passed on as it is. */
export interface RpcError {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/**
 * The one error class. `message` names what and where in words for the caller; `cause` stays in the log.
 * With `rpc` set it is an upstream's own JSON-RPC error, passed on under its own number.
 */
export class ClarityError extends Error {
  override readonly name = "ClarityError"
  readonly code: ErrorCode
  readonly data: ErrorData
  readonly rpc: RpcError | undefined

  constructor(code: ErrorCode, message: string, options: { data?: ErrorData; cause?: unknown; rpc?: RpcError } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.data = options.data ?? {}
    this.rpc = options.rpc
  }

  get entry(): ErrorEntry {
    return errorTable[this.code]
  }

  /** The error as a JSON-RPC `error` member. `data` of our own errors is `{code, retryable, ...data}`. */
  toRpc(): RpcError {
    if (this.rpc) return this.rpc
    return { code: this.entry.rpc, message: this.message, data: this.toData() }
  }

  toData(): JsonObject {
    return { code: this.code, retryable: this.entry.retryable, ...this.data }
  }
}

/** Anything thrown, as a ClarityError: our own pass through, strangers become `internal` with nothing of them shown. */
export function asClarityError(thrown: unknown, message = "internal error"): ClarityError {
  return thrown instanceof ClarityError ? thrown : new ClarityError("internal", message, { cause: thrown })
}

/** An upstream's JSON-RPC error, to be passed on. */
export function upstreamError(rpc: RpcError): ClarityError {
  return new ClarityError("upstream_invalid", rpc.message, { rpc })
}

/** The error an aborted signal stands for: its reason when that is ours, else `cancelled`. */
export function abortError(signal: AbortSignal): ClarityError {
  return signal.reason instanceof ClarityError ? signal.reason : new ClarityError("cancelled", "the call was cancelled")
}

/** What is not there and what policy hides answer with this same error, so that nobody can tell them apart. */
export function unknownTarget(kind: "tool" | "prompt" | "resource", name: string): ClarityError {
  return new ClarityError("invalid_params", `unknown ${kind}: ${name.slice(0, 200)}`, {
    data: kind === "resource" ? { uri: name } : {},
  })
}
