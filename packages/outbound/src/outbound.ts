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
  /** Longest silence before the head and between bytes of the body. */
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
  /** Inflated chunks, each a sign of life. Throws OutboundError when a bound strikes or the connection breaks. */
  readonly body: AsyncIterable<Uint8Array>
  /** The whole body as UTF-8 text (invalid bytes are an error). */
  text(): Promise<string>
  /** Closes the exchange without reading on. */
  discard(): void
}
