import { isJsonObject, metaKeys, parseJson, type Era, type JsonObject } from "@clarity-runtime/contracts"

export type RpcId = string | number

interface Line {
  /** As it came: it is passed on byte for byte. */
  readonly text: string
}

/** One line of a stdio client, understood as far as a bridge must. */
export type Message =
  | (Line & {
      readonly kind: "request"
      readonly id: RpcId
      readonly method: string
      readonly params: JsonObject
      readonly era: Era
    })
  | (Line & { readonly kind: "notification"; readonly method: string; readonly params: JsonObject; readonly era: Era })
  | (Line & { readonly kind: "response" })
  | (Line & { readonly kind: "batch" })
  | (Line & { readonly kind: "broken"; readonly why: string; readonly code: number })

export type RequestMessage = Message & { readonly kind: "request" }
export type NotificationMessage = Message & { readonly kind: "notification" }

/** Never throws: what is no message says why. */
export function readMessage(text: string): Message {
  let value: unknown
  try {
    value = parseJson(text)
  } catch {
    return { kind: "broken", text, why: "the line is not valid JSON", code: -32700 }
  }
  if (Array.isArray(value)) return { kind: "batch", text }
  if (!isJsonObject(value)) return { kind: "broken", text, why: "the line is not a JSON-RPC message", code: -32600 }
  const { id, method } = value
  const known = typeof id === "string" || typeof id === "number"
  if (typeof method !== "string") {
    if (known && ("result" in value || "error" in value)) return { kind: "response", text }
    return { kind: "broken", text, why: "the line is neither a request nor a response", code: -32600 }
  }
  const params = isJsonObject(value["params"]) ? value["params"] : {}
  const era = eraOf(method, params)
  if (id === undefined) return { kind: "notification", text, method, params, era }
  if (!known) return { kind: "broken", text, why: "the id must be a text or a whole number", code: -32600 }
  return { kind: "request", text, id, method, params, era }
}

/** Requests of 2026-07-28 describe themselves; everything else belongs to the session. */
function eraOf(method: string, params: JsonObject): Era {
  const meta = params["_meta"]
  if (isJsonObject(meta) && metaKeys.protocolVersion in meta) return "modern"
  return method === "server/discover" || method === "subscriptions/listen" ? "modern" : "legacy"
}

export function protocolVersionOf(params: JsonObject): string | undefined {
  const meta = params["_meta"]
  const version = isJsonObject(meta) ? meta[metaKeys.protocolVersion] : undefined
  return typeof version === "string" ? version : undefined
}

export function errorLine(id: RpcId | undefined, code: number, message: string, data?: JsonObject): string {
  const error = { code, message, ...(data === undefined ? {} : { data }) }
  return JSON.stringify({ jsonrpc: "2.0", ...(id === undefined ? {} : { id }), error })
}

/** A key that tells `1` from `"1"`. */
export function idKey(id: unknown): string {
  return JSON.stringify(id) ?? ""
}
