import { ClarityError, isJsonObject, type JsonObject } from "@clarity-runtime/contracts"

export type RpcId = string | number

/** A JSON-RPC message whose envelope is sound (JSON-RPC 2.0, section 4; MCP base protocol). */
export type RpcMessage =
  | { readonly kind: "request"; readonly id: RpcId; readonly method: string; readonly params: JsonObject }
  | { readonly kind: "notification"; readonly method: string; readonly params: JsonObject }
  | { readonly kind: "response"; readonly id: RpcId; readonly result?: JsonObject; readonly error?: JsonObject }

/** Checks the envelope. Throws ClarityError `invalid_request` naming the member that is wrong. */
export function readEnvelope(value: unknown): RpcMessage {
  if (!isJsonObject(value))
    throw invalid(Array.isArray(value) ? "batches are not accepted" : "a message must be an object")
  if (value["jsonrpc"] !== "2.0") throw invalid('jsonrpc must be "2.0"')
  const { id, method, params } = value
  const hasId = "id" in value
  if (hasId && !isId(id)) throw invalid("id must be a text of at most 256 characters or an integer")
  if (method === undefined && hasId && ("result" in value || "error" in value)) {
    const { result, error } = value
    if (result !== undefined && !isJsonObject(result)) throw invalid("result must be an object")
    if (error !== undefined && !isJsonObject(error)) throw invalid("error must be an object")
    return {
      kind: "response",
      id: id as RpcId,
      ...(result === undefined ? {} : { result }),
      ...(error === undefined ? {} : { error }),
    }
  }
  if (typeof method !== "string" || method === "" || method.length > 256)
    throw invalid("method must be a text of 1 to 256 characters")
  if (params !== undefined && !isJsonObject(params)) throw invalid("params must be an object")
  const body = { method, params: params ?? {} }
  return hasId ? { kind: "request", id: id as RpcId, ...body } : { kind: "notification", ...body }
}

/** The id of a message whose envelope is broken, if it can be read all the same, so that its error can name it. */
export function idOf(value: unknown): RpcId | undefined {
  return isJsonObject(value) && isId(value["id"]) ? value["id"] : undefined
}

function isId(id: unknown): id is RpcId {
  return typeof id === "string" ? id.length <= 256 : typeof id === "number" && Number.isSafeInteger(id)
}

function invalid(why: string): ClarityError {
  return new ClarityError("invalid_request", `invalid JSON-RPC message: ${why}`)
}

/** Throws `upstream_invalid` for a result that is nested deeper than it can be written: only a service makes such a one. */
export function resultText(id: RpcId, result: JsonObject): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${written(result)}}`
}

function written(value: JsonObject): string {
  try {
    return JSON.stringify(value)
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown
    const data = { reason: "nesting" }
    throw new ClarityError("upstream_invalid", "the answer is nested too deeply to be passed on", { data })
  }
}

/** An error whose data cannot be written is told without them. */
export function errorText(id: RpcId | undefined, error: ClarityError): string {
  const envelope = { jsonrpc: "2.0", ...(id === undefined ? {} : { id }) }
  const rpc = error.toRpc()
  try {
    return JSON.stringify({ ...envelope, error: rpc })
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown
    return JSON.stringify({ ...envelope, error: { code: rpc.code, message: rpc.message } })
  }
}

export function notificationText(method: string, params: JsonObject | undefined): string {
  return written({ jsonrpc: "2.0", method, ...(params === undefined ? {} : { params }) })
}

const jsonHeaders = { "content-type": "application/json" }

export function jsonResponse(text: string, status = 200, headers?: Readonly<Record<string, string>>): Response {
  return new Response(text, { status, headers: headers === undefined ? jsonHeaders : { ...jsonHeaders, ...headers } })
}
