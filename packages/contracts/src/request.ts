import type { JsonObject } from "./json.ts"

/** The revisions of MCP the runtime speaks. Legacy ones have a handshake, the modern one has none. */
export const legacyVersions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] as const
export const modernVersions = ["2026-07-28"] as const
export type Era = "legacy" | "modern"

/** One MCP request, the same shape whatever era it arrived in. `params` is without `_meta`; unknown fields are kept. */
export interface McpRequest {
  readonly method: string
  readonly params: JsonObject
  /** The caller's `_meta` less the protocol's own envelope keys, which become `ClientProfile`. */
  readonly meta: JsonObject
}

export interface McpNotification {
  readonly method: string
  readonly params?: JsonObject
}

/** `resultType` absent or "complete": the answer. "input_required": the caller must answer and ask again (MCP 2026-07-28, MRTR). */
export type McpResult = JsonObject

/** A call under way: any number of notifications, then exactly one result. Throws ClarityError. */
export type Reply = AsyncGenerator<McpNotification, McpResult, void>

/** What the end client can do, as it said itself; never proof of who it is. */
export interface ClientProfile {
  readonly era: Era
  readonly protocolVersion: string
  readonly capabilities: ClientCapabilities
  readonly info?: JsonObject
  /** Lowest level the client wants as `notifications/message`; absent: none (modern) or the session's default (legacy). */
  readonly logLevel?: string
}

export interface ClientCapabilities extends JsonObject {
  elicitation?: { form?: JsonObject; url?: JsonObject }
  sampling?: JsonObject
  roots?: JsonObject
  extensions?: JsonObject
}

/** True when the client can be asked something during a call. */
export function canBeAsked(client: ClientProfile): boolean {
  const { elicitation, sampling, roots } = client.capabilities
  return elicitation !== undefined || sampling !== undefined || roots !== undefined
}

export function isInputRequired(result: McpResult): boolean {
  return result["resultType"] === "input_required"
}

/** The protocol's own `_meta` keys (MCP 2026-07-28, base protocol). */
export const metaKeys = {
  protocolVersion: "io.modelcontextprotocol/protocolVersion",
  clientCapabilities: "io.modelcontextprotocol/clientCapabilities",
  clientInfo: "io.modelcontextprotocol/clientInfo",
  logLevel: "io.modelcontextprotocol/logLevel",
  serverInfo: "io.modelcontextprotocol/serverInfo",
  subscriptionId: "io.modelcontextprotocol/subscriptionId",
  /** Ours: `{code, retryable, service, ...}` on an `isError` result the runtime itself made. */
  error: "dev.clarity-runtime/error",
  /** Ours: the run a call belongs to, in a request's `_meta`; the header `x-clarity-run-id` says the same. */
  run: "dev.clarity-runtime/run",
} as const
