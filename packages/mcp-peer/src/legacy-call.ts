import {
  abortError,
  canBeAsked,
  ClarityError,
  isJsonObject,
  type CallContext,
  type ClientCapabilities,
  type JsonObject,
  type McpNotification,
  type McpRequest,
} from "@clarity-runtime/contracts"
import { missingFor } from "./capabilities.ts"
import { legacyParams, progressTokenOf } from "./envelope.ts"
import type { Ended, Exchange, Question } from "./exchange.ts"
import type { Link } from "./handshake.ts"
import { lowerLevel } from "./log-levels.ts"
import { forCaller } from "./notices.ts"
import { targetOf, type Parking } from "./parking.ts"
import type { Turn } from "./turns.ts"
import { capabilityMissing } from "./upstream-errors.ts"

/** One call at a legacy upstream; it outlives the client's request when the upstream asks back. */
export interface LegacyCall {
  readonly link: Link
  readonly exchange: Exchange
  /** Its place among the calls of a wire that does not say to whom a question belongs. */
  readonly turn: Turn | undefined
  readonly method: string
  readonly target: unknown
  readonly principalId: string
  /** Unanswered, by the key the client knows them under. */
  readonly questions: Map<string, Question>
  asked: number
  refusals: number
  /** What the last refused question would have needed. */
  missing: ClientCapabilities | undefined
}

export const askingMethods: ReadonlySet<string> = new Set(["tools/call", "prompts/get", "resources/read"])

const maxQuestions = 16
const maxRefusals = 4

/** Begins the call upstream. `takeTurns`: the wire has shown that it does not say to whom a question belongs. */
export async function* beginLegacy(
  link: Link,
  request: McpRequest,
  context: CallContext,
  parking: Parking,
  takeTurns: boolean,
): AsyncGenerator<McpNotification, Ended> {
  const { connection } = link
  const askable = askingMethods.has(request.method) && canBeAsked(context.client)
  const pending = lowerLevel(link, context)
  if (context.client.logLevel !== undefined) await pending
  const turn =
    askable && link.turns && (takeTurns || connection.binding === "pipe" || connection.asksAtLarge)
      ? await link.turns.take(context.principal.id, context.signal, context.limits.idleMs)
      : undefined
  const token = progressTokenOf(request.meta)
  const exchange = connection.request(
    request.method,
    (id) => legacyParams(request, context, token === undefined ? undefined : id),
    { purpose: "call", askable, limits: context.limits },
  )
  if (turn) {
    exchange.onSettled = () => turn.release()
    if (exchange.over) turn.release()
  }
  const call: LegacyCall = {
    link,
    exchange,
    turn,
    method: request.method,
    target: targetOf(request),
    principalId: context.principal.id,
    questions: new Map(),
    asked: 0,
    refusals: 0,
    missing: undefined,
  }
  return yield* follow(call, context, token, parking)
}

/** Goes on with a parked call: hands the answers up and follows it again. Throws `invalid_params`. */
export async function* resumeLegacy(
  state: string,
  request: McpRequest,
  context: CallContext,
  parking: Parking,
): AsyncGenerator<McpNotification, Ended> {
  const answers = request.params["inputResponses"] ?? {}
  if (!isJsonObject(answers) || !Object.values(answers).every(isJsonObject))
    throw new ClarityError("invalid_params", "inputResponses must map each key to a result object")
  const call = parking.take(state, request, context)
  await goOn(call, context, parking)
  for (const [key, question] of call.questions) {
    const result = Object.hasOwn(answers, key) ? answers[key] : undefined
    if (!isJsonObject(result)) continue
    call.questions.delete(key)
    call.link.connection.answer(question.id, { result })
  }
  return yield* follow(call, context, progressTokenOf(request.meta), parking)
}

/** Waits for the call's turn to come again; a call whose caller goes away meanwhile is over. */
async function goOn(call: LegacyCall, context: CallContext, parking: Parking): Promise<void> {
  try {
    await call.turn?.resume(context.signal)
  } catch (thrown) {
    call.link.connection.cancel(call.exchange, abortError(context.signal))
    throw thrown
  }
  parking.wake(call)
}

/** Until it ends or waits for answers. An upstream's question that came meanwhile is put along with the others. */
async function* follow(
  call: LegacyCall,
  context: CallContext,
  token: string | number | undefined,
  parking: Parking,
): AsyncGenerator<McpNotification, Ended> {
  const { exchange, link } = call
  const { signal } = context
  const abort = () => link.connection.cancel(exchange, abortError(signal))
  let parked = false
  let gathered = false
  if (signal.aborted) abort()
  else signal.addEventListener("abort", abort, { once: true })
  try {
    for (;;) {
      const event = exchange.poll() ?? (call.questions.size > 0 ? undefined : await exchange.next())
      if (event === undefined) {
        // Questions asked in one breath are put to the client together.
        if (!gathered) {
          gathered = true
          await parking.breath(signal)
          continue
        }
        const requestState = parking.park(call)
        if (requestState === undefined) return noPlace(context)
        parked = true
        call.turn?.pause()
        return {
          kind: "result",
          result: { resultType: "input_required", inputRequests: inputRequests(call), requestState },
        }
      }
      if (event.kind === "question") {
        consider(call, event, context)
        gathered = false
      } else if (event.kind !== "notification") return concluded(call, event, context)
      else if (event.method === "notifications/cancelled") withdraw(call, event.params["requestId"])
      else {
        const notification = forCaller(event, context, token)
        if (notification) yield notification
      }
    }
  } finally {
    signal.removeEventListener("abort", abort)
    if (!parked) link.connection.cancel(exchange, new ClarityError("cancelled", "the caller went away"))
  }
}

/** Keeps a question for the client, or refuses it upstream when the client cannot be asked that. */
function consider(call: LegacyCall, question: Question, context: CallContext): void {
  const { connection } = call.link
  const missing = missingFor(question.method, question.params, context.client.capabilities)
  if (!missing && call.questions.size < maxQuestions) {
    call.questions.set(`ask_${++call.asked}`, question)
    return
  }
  call.missing = missing
  connection.answer(question.id, {
    error: missing
      ? { code: -32601, message: `The client does not support ${question.method}` }
      : { code: -32603, message: "Too many questions at once" },
  })
  if (++call.refusals <= maxRefusals) return
  const name = context.service.namespace
  connection.cancel(
    call.exchange,
    missing ? capabilityMissing(name, missing) : new ClarityError("upstream_invalid", `${name} asks too much`),
  )
}

function withdraw(call: LegacyCall, id: unknown): void {
  for (const [key, question] of call.questions) if (question.id === id) call.questions.delete(key)
}

/** A call that ends in an error after its question was refused has failed for want of that answer. */
function concluded(call: LegacyCall, ended: Ended, context: CallContext): Ended {
  if (ended.kind !== "error" || !call.missing) return ended
  return {
    kind: "failed",
    failure: { error: capabilityMissing(context.service.namespace, call.missing), sent: true, status: 200 },
  }
}

function noPlace(context: CallContext): Ended {
  const name = context.service.namespace
  const error = new ClarityError("rate_limited", `too many calls to ${name} wait for input`, {
    data: { service: name },
  })
  return { kind: "failed", failure: { error, sent: true } }
}

function inputRequests(call: LegacyCall): JsonObject {
  const requests: JsonObject = {}
  for (const [key, { method, params }] of call.questions) requests[key] = { method, params: withoutToken(params) }
  return requests
}

/** Some SDKs put a progress token into what they ask; it means nothing to anybody else. */
function withoutToken(params: JsonObject): JsonObject {
  const { _meta, ...rest } = params
  if (!isJsonObject(_meta)) return params
  const { progressToken: _token, ...meta } = _meta
  return Object.keys(meta).length > 0 ? { ...rest, _meta: meta } : rest
}
