import type { CallLimits, ClarityError, JsonObject } from "@clarity-runtime/contracts"

export type RpcId = string | number

/** Any JSON-RPC 2.0 message as it came off the wire; nothing but its being an object has been checked. */
export type RpcMessage = JsonObject

/**
 * One connection to one MCP server, below the protocol: it moves messages and knows when they can no longer come.
 * It does no handshake and no matching of ids; that is the peer's. Made anew for every connection, opened once, disposed once.
 */
export interface Transport extends AsyncDisposable {
  /** `http`: one exchange per request, ended by closing it. `pipe`: one stream both ways (stdio, HTTP+SSE). */
  readonly binding: "http" | "pipe"
  /** Connects or starts the process and begins to receive. Throws ClarityError. */
  open(receiver: Receiver, signal: AbortSignal): Promise<void>
  /**
   * Hands one message over. For a request over `http` it resolves when the exchange has begun; what comes back
   * arrives at the receiver, followed by `ended`. Throws a TransportError that says whether anything was sent.
   */
  send(message: RpcMessage, options: SendOptions): Promise<void>
  /** `http`: closes the exchange of that request; nothing more arrives for it. `pipe`: does nothing. */
  abandon(id: RpcId): void
  /** What the handshake agreed on; an HTTP transport puts the version into its headers from now on. */
  negotiated?(version: string): void
  /** Legacy HTTP: opens the standing stream for messages that belong to no request. Resolves also when the server has none. */
  listen?(signal: AbortSignal): Promise<void>
}

export interface SendOptions {
  /** Extra headers (`Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`, trace); only for `http`. */
  readonly headers?: Readonly<Record<string, string>>
  readonly limits?: CallLimits
  readonly signal?: AbortSignal
}

/** Where a transport puts what it receives. Calls come one at a time, in the order of the wire. */
export interface Receiver {
  /**
   * `related`: the request on whose exchange it arrived, when the transport can tell. `bytes`: its size on the wire,
   * when the transport knows it; with it the peer holds answers on a pipe against their call's `maxResultBytes`.
   */
  message(message: RpcMessage, related: RpcId | undefined, bytes?: number): void
  /** An answer of that size, not parsed yet: true when its call may not have it, and has been told so, or is over. */
  refuses?(id: RpcId, bytes: number): boolean
  /** Only `http`: the exchange is over. With a failure its answer did not come. */
  ended(id: RpcId, failure: TransportFailure | undefined): void
  /** Bytes arrived for that request (or for any, when undefined): a sign of life. */
  alive?(related: RpcId | undefined): void
  /** The connection is gone for good; always the last call. */
  closed(failure: TransportFailure | undefined): void
}

export interface TransportFailure {
  readonly error: ClarityError
  /** False only when it is certain that the upstream saw nothing of the request. */
  readonly sent: boolean
  /** HTTP status of an answer that was not a message. */
  readonly status?: number
  /** JSON-RPC error found in the body of such an answer. */
  readonly rpc?: { readonly code: number; readonly message: string; readonly data?: unknown }
}

/** What `send` and `open` throw. */
export class TransportError extends Error {
  override readonly name = "TransportError"
  readonly failure: TransportFailure
  constructor(failure: TransportFailure) {
    super(failure.error.message, { cause: failure.error })
    this.failure = failure
  }
}

/** The failure of a connection behind an error of this package, when there is one: its status tells what kind of server answered. */
export function failureOf(thrown: unknown): TransportFailure | undefined {
  if (thrown instanceof TransportError) return thrown.failure
  return thrown instanceof Error && thrown.cause instanceof TransportError ? thrown.cause.failure : undefined
}
