import {
  ClarityError,
  isInputRequired,
  isJsonObject,
  type JsonObject,
  type McpNotification,
  type McpResult,
  type McpRequest,
  type Reply,
} from "@clarity-runtime/contracts"
import type { Core } from "../call.ts"
import { freshId } from "../trace.ts"
import type { ClientAnswer, Session } from "./sessions.ts"

/** A request of ours to a legacy client, sent on the stream of the call it belongs to. */
export interface ClientRequest {
  readonly id: string
  readonly method: string
  readonly params: JsonObject
}

const maxRounds = 10

/**
 * The other half of the bridge: a legacy client cannot be told `input_required`, it is asked with real requests on the
 * call's stream, and the call is made again with its answers, as often as it takes (at most 10 rounds).
 */
export async function* askingBack(
  core: Core,
  session: Session | undefined,
  request: McpRequest,
  make: (request: McpRequest) => Reply,
  signal: AbortSignal,
): AsyncGenerator<McpNotification | ClientRequest, McpResult, void> {
  let next = request
  for (let round = 0; ; round++) {
    const result = yield* make(next)
    if (!isInputRequired(result)) return result
    const { requestState } = result
    const inputResponses: JsonObject = {}
    let answered = false
    try {
      if (session === undefined) throw cannotAsk("it has no session, so it cannot be asked anything")
      if (round >= maxRounds)
        throw new ClarityError("upstream_invalid", `the service asked for input more than ${maxRounds} times`)
      for (const [key, wanted] of Object.entries(
        isJsonObject(result["inputRequests"]) ? result["inputRequests"] : {},
      )) {
        const question = questionFor(session, wanted)
        yield question
        inputResponses[key] = answerOf(await session.answer(question.id, signal, core.patienceMs), question.method)
      }
      answered = true
    } finally {
      // Nobody will answer any more: what waits upstream for it is given up, and its turn is free for others.
      if (!answered) core.parking.abandon(requestState)
    }
    next = {
      ...request,
      params: { ...request.params, inputResponses, ...(requestState === undefined ? {} : { requestState }) },
    }
  }
}

function questionFor(session: Session, wanted: unknown): ClientRequest {
  const method = isJsonObject(wanted) ? wanted["method"] : undefined
  const given = isJsonObject(wanted) && isJsonObject(wanted["params"]) ? wanted["params"] : {}
  const { capabilities, protocolVersion } = session.client
  const id = freshId("ask")
  switch (method) {
    case "elicitation/create": {
      if (capabilities.elicitation === undefined) throw cannotAsk("it did not declare elicitation")
      if (given["mode"] !== "url") return { id, method, params: withoutMode(given, protocolVersion) }
      if (capabilities.elicitation.url === undefined) throw cannotAsk("it did not declare elicitation by URL")
      return { id, method, params: { elicitationId: id, ...given } }
    }
    case "sampling/createMessage":
      if (capabilities.sampling === undefined) throw cannotAsk("it did not declare sampling")
      return { id, method, params: given }
    case "roots/list":
      if (capabilities.roots === undefined) throw cannotAsk("it did not declare roots")
      return { id, method, params: given }
    default:
      throw new ClarityError("upstream_invalid", "the service asked for an input of an unknown kind")
  }
}

/** `mode` came with 2025-11-25; a client of 2025-06-18 knows forms only and may refuse the key. */
function withoutMode(params: JsonObject, version: string): JsonObject {
  if (version >= "2025-11-25") return params
  const { mode: _mode, ...rest } = params
  return rest
}

/** The upstream is told what the client said: its result, or for a refusal of the request itself a decline where there is such a thing. */
function answerOf({ result, error }: ClientAnswer, method: string): JsonObject {
  if (result !== undefined) return result
  if (method === "elicitation/create") return { action: "cancel" }
  const message = typeof error?.["message"] === "string" ? error["message"].slice(0, 200) : "no reason given"
  throw new ClarityError("conflict", `the client refused ${method}: ${message}`)
}

function cannotAsk(why: string): ClarityError {
  return new ClarityError("conflict", `this call needs an answer from the client, and ${why}`, {
    data: { reason: "input_required" },
  })
}
