import { asClarityError, ClarityError, isJsonObject } from "@clarity-runtime/contracts"
import type { Core } from "../call.ts"
import { errorText, idOf, jsonResponse, readEnvelope } from "../edge/rpc.ts"
import { eraOf } from "./detect.ts"
import { answerLegacy, type LegacyRequest } from "./legacy.ts"
import type { HttpRequest } from "../edge/http.ts"
import { isList } from "../lists.ts"
import { checkScope } from "../scope.ts"
import type { Sessions } from "./sessions.ts"

const maxBatch = 100
/** Characters of all answers together. */
const maxAnswers = 16 * 1024 * 1024

/**
 * Batches existed in 2025-03-26 only and are accepted from its clients only: each message is answered as if it had
 * come alone, without streams, and the answers come back as one array. Throws `invalid_request` for anyone else.
 */
export async function answerBatch(
  core: Core,
  sessions: Sessions,
  messages: readonly unknown[],
  rest: Omit<LegacyRequest, "message">,
): Promise<Response> {
  const { http, principal, view } = rest
  const id = http.headers.get("mcp-session-id")
  const session = id === null ? undefined : sessions.find(id, principal, view.namespace)
  const version = session?.client.protocolVersion ?? http.headers.get("mcp-protocol-version")
  if (version !== "2025-03-26")
    throw new ClarityError("invalid_request", "invalid JSON-RPC message: batches are not accepted")
  if (messages.length === 0 || messages.length > maxBatch)
    throw new ClarityError("invalid_request", `a batch must have 1 to ${maxBatch} messages`)
  const headers = { get: (name: string) => (name === "accept" ? null : http.headers.get(name)) }
  const listeners: (() => void)[] = []
  http.onClose(() => listeners.forEach((listener) => listener()))
  const plain: HttpRequest = {
    method: http.method,
    headers,
    onClose: (listener) => void listeners.push(listener),
    body: (maxBytes) => http.body(maxBytes),
  }
  let room = maxAnswers
  const answers: Promise<string>[] = []
  for (const value of messages) {
    const answer = answerOne(core, sessions, value, { ...rest, http: plain }).then((text) => {
      if (text.length > room) return errorText(idOf(value), new ClarityError("payload_too_large", tooMuch))
      room -= text.length
      return text
    })
    answers.push(answer)
    // Calls go side by side; lists are ready at once, and a hundred of them would be held in memory together.
    if (isJsonObject(value) && isList(String(value["method"]))) await answer
  }
  const texts = (await Promise.all(answers)).filter((text) => text !== "")
  return texts.length === 0 ? new Response(null, { status: 202 }) : jsonResponse(`[${texts.join(",")}]`)
}

const tooMuch = "the answers of this batch are too long together; send this request alone"

async function answerOne(
  core: Core,
  sessions: Sessions,
  value: unknown,
  rest: Omit<LegacyRequest, "message">,
): Promise<string> {
  try {
    const message = readEnvelope(value)
    if (
      message.kind === "request" &&
      (message.method === "initialize" || eraOf(rest.http.headers, message.method, message.params) === "modern")
    ) {
      throw new ClarityError("invalid_request", `${message.method} may not be part of a batch`)
    }
    if (message.kind === "request") checkScope(rest.principal, message.method)
    return await (await answerLegacy(core, sessions, { message, ...rest })).text()
  } catch (thrown) {
    core.refusals.record(thrown, { rpc: "batch", principal: rest.principal.id })
    return errorText(idOf(value), asClarityError(thrown))
  }
}
