import { ClarityError, isJsonObject, parseJson, type JsonObject } from "@clarity-runtime/contracts"
import { errorLine, idKey, type RequestMessage, type RpcId } from "./message.ts"
import { messagesOf, singleLine } from "./replies.ts"

export interface RelayOptions {
  /** False: nobody waits for this any more. */
  readonly wanted: () => boolean
  readonly write: (line: string) => Promise<void>
  readonly onResult?: (result: unknown) => void
}

export interface RelayOutcome {
  /** The final response was among the messages. */
  readonly answered: boolean
  /** Where a stream that broke can be read on. */
  readonly lastEventId?: string
}

/**
 * Hands the messages of an answer to the client, up to and including the response to its request. A broken stream is an
 * outcome, not an error: whether it can be read on is for the caller to know.
 */
export async function relay(request: RequestMessage, response: Response, options: RelayOptions): Promise<RelayOutcome> {
  if (!response.ok) {
    const line = refusalLine(request.id, response.status, await response.text().catch(() => ""))
    if (options.wanted()) await options.write(line)
    return { answered: true }
  }
  let lastEventId: string | undefined
  try {
    for await (const { text, eventId } of messagesOf(response)) {
      lastEventId = eventId ?? lastEventId
      const result = responseTo(request.id, text)
      if (result !== undefined) options.onResult?.(result["result"])
      if (options.wanted()) await options.write(singleLine(text))
      if (result !== undefined) return { answered: true }
    }
  } catch (error) {
    if (!(error instanceof ClarityError) || error.code !== "outcome_unknown") throw error
  }
  return { answered: false, ...(lastEventId === undefined ? {} : { lastEventId }) }
}

/** The message, if it is the response to that request. */
export function responseTo(id: RpcId, text: string): JsonObject | undefined {
  const value = parsed(text)
  if (!isJsonObject(value) || "method" in value || idKey(value["id"]) !== idKey(id)) return undefined
  return value
}

/** Any refusal over HTTP as the response to a request: a JSON-RPC error as it is, anything else in our own words. */
export function refusalLine(id: RpcId, status: number, text: string): string {
  const value = parsed(text)
  if (isJsonObject(value) && isJsonObject(value["error"])) return JSON.stringify({ ...value, id })
  if (isJsonObject(value) && typeof value["error"] === "string") return errorLine(id, -32603, value["error"])
  return errorLine(id, 50200, `what answers is no MCP endpoint (HTTP ${status})`, {
    code: "upstream_invalid",
    retryable: false,
  })
}

export function failureLine(id: RpcId, error: ClarityError): string {
  return errorLine(id, error.entry.rpc, error.message, error.toData())
}

export function parsed(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

const harmless = new Set([
  "ping",
  "server/discover",
  "tools/list",
  "resources/list",
  "resources/templates/list",
  "prompts/list",
  "resources/read",
  "prompts/get",
  "completion/complete",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
])

/** May be asked a second time when nobody knows what became of the first. */
export function repeatable({ method }: RequestMessage): boolean {
  return harmless.has(method)
}

export function lostCall(request: RequestMessage): ClarityError {
  return new ClarityError("outcome_unknown", `the daemon went away during ${request.method}: it may have been executed`)
}
