import type { ClarityError } from "@clarity-runtime/contracts"

/** The one HTTP client of the runtime: every request it makes to anywhere goes through here. */
export interface Outbound extends AsyncDisposable {
  /**
   * Sends one request and resolves with the response's head; the body is then read by the caller, within the same
   * bounds. Redirects are never followed for POST and only to the same origin otherwise. Throws OutboundError.
   */
  request(request: OutboundRequest): Promise<OutboundResponse>
}

export interface OutboundRequest {
  readonly method: "GET" | "POST" | "DELETE"
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Ends the exchange, its body included, and closes its connection. */
  readonly signal: AbortSignal
  /** Longest silence before the head and between bytes of the body. `Infinity`: whoever asks keeps watch itself. */
  readonly idleMs: number
  /** Bytes of the body after inflation. */
  readonly maxBytes: number
  /** Where the address may lie. `any`: an operator typed this very host. `public`: private and loopback addresses are refused at dial time. */
  readonly reach: "any" | "public"
}

export interface OutboundResponse {
  readonly status: number
  /** Lower-case names; repeated ones joined by ", ". */
  readonly headers: Readonly<Record<string, string>>
  /** Inflated chunks, each a sign of life. Throws OutboundError when a bound strikes or the connection breaks. Read once; leaving early discards. */
  readonly body: AsyncIterable<Uint8Array>
  /** The whole body as UTF-8 text without a byte order mark (invalid bytes are an error). Instead of `body`, once. */
  text(): Promise<string>
  /** Closes the exchange without reading on; does nothing once the body has ended. */
  discard(): void
}

/** What `request` and the body throw. Its own message is for logs; `error` is what a caller may see. */
export class OutboundError extends Error {
  override readonly name = "OutboundError"
  readonly error: ClarityError
  /** False only when it is certain that nothing of the request left: the address was refused or no connection came about. */
  readonly sent: boolean
  /** Status of the answer, when it had one. */
  readonly status: number | undefined

  constructor(error: ClarityError, sent: boolean, status?: number) {
    super(detailOf(error), { cause: error })
    this.error = error
    this.sent = sent
    this.status = status
  }
}

/** The error's words with those of what lies beneath it: which certificate, which refusal. Not for callers, who could scan ports with it. */
function detailOf(error: ClarityError): string {
  const { cause } = error
  if (!(cause instanceof Error)) return error.message
  const inner = cause instanceof AggregateError ? cause.errors.map(String).join("; ") : cause.message
  return inner === "" ? error.message : `${error.message}: ${inner}`
}
