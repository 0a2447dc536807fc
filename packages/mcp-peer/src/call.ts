import {
  abortError,
  ClarityError,
  isJsonObject,
  metaKeys,
  upstreamError,
  type CallContext,
  type Clock,
  type JsonObject,
  type McpNotification,
  type McpRequest,
  type McpResult,
  type Reply,
  type RpcError,
} from "@clarity-runtime/contracts"
import type { Upstream } from "./connect.ts"
import type { Ended } from "./exchange.ts"
import type { Link } from "./handshake.ts"
import { beginLegacy, resumeLegacy } from "./legacy-call.ts"
import { callModern, checkResult, withoutServerInfo } from "./modern-call.ts"
import { isHandle, type Parking } from "./parking.ts"
import type { ToolBook } from "./tool-book.ts"
import { failureOf, type TransportFailure } from "./transport.ts"
import { broke, capabilityMissing, errorForClient, outcomeUnknown } from "./upstream-errors.ts"

/** How often a call that fails below is made again where that is harmless, and after how many milliseconds the first time; doubling. */
export interface Retries {
  readonly max: number
  readonly backoffMs: number
}

export interface Calling {
  readonly upstream: Upstream
  readonly parking: Parking
  readonly tools: ToolBook
  readonly clock: Clock
  readonly retries: Retries
}

/** What has been tried already for one call; each remedy is bounded by itself. */
interface Tries {
  unsent: number
  retried: number
  repeated: boolean
  renewed: boolean
  refreshed: boolean
  reprobed: boolean
}

const maxUnsent = 2
/** A service that wants to be left alone for longer than this is. */
const maxWaitMs = 10_000

/** One call with all that may have to be done again for it. Throws ClarityError. */
export async function* callUpstream(calling: Calling, request: McpRequest, context: CallContext): Reply {
  const { upstream, parking } = calling
  const { signal } = context
  const state = request.params["requestState"]
  const tries: Tries = { unsent: 0, retried: 0, repeated: false, renewed: false, refreshed: false, reprobed: false }
  if (signal.aborted) throw abortError(signal)
  if (isHandle(state)) {
    const ended = yield* resumeLegacy(state, request, context, parking)
    return concludeLegacy(ended, request, context, () => giveUp(ended, parking, signal))
  }
  for (;;) {
    let link: Link | undefined
    let ended: Ended
    try {
      const found = upstream.link(context.client, signal)
      link = found instanceof Promise ? await found : found
      // A state we did not hand out can only be a modern upstream's.
      if (state !== undefined && link.era === "legacy")
        throw new ClarityError("invalid_params", "requestState names no call that waits for input; start it again", {
          data: { service: context.service.namespace, reason: "request_state_unknown" },
        })
      ended = yield* attempt(calling, link, request, context)
    } catch (thrown) {
      const failure = link ? undefined : failureOf(thrown)
      if (!failure || signal.aborted) throw thrown
      ended = { kind: "failed", failure: { ...failure, sent: failure.sent && failure.status !== undefined } }
    }
    if (ended.kind === "result" || signal.aborted) {
      giveUp(ended, parking, signal)
      if (ended.kind !== "result") throw abortError(signal)
      if (link) checkParked(ended.result, link, request, context)
      return withoutServerInfo(ended.result)
    }
    if (await remedied(calling, link, ended, request, context, tries)) continue
    return refuse(ended, link?.era, request, context)
  }
}

function attempt(
  calling: Calling,
  link: Link,
  request: McpRequest,
  context: CallContext,
): AsyncGenerator<McpNotification, Ended> {
  const { upstream, parking, tools } = calling
  if (link.era === "modern") return callModern(link, request, context, tools.headersOf(request))
  return beginLegacy(link, request, context, parking, upstream.asksAtLarge)
}

/** The answer of a resumed call; it cannot be repeated, for its first half has happened. */
function concludeLegacy(ended: Ended, request: McpRequest, context: CallContext, settle: () => void): McpResult {
  settle()
  if (ended.kind === "result") return withoutServerInfo(ended.result)
  if (context.signal.aborted) throw abortError(context.signal)
  if (ended.kind === "failed" && broke(ended.failure) && ended.failure.sent)
    throw outcomeUnknown(context.service.namespace, ended.failure)
  return refuse(ended, "legacy", request, context)
}

/** A call that parked in the very moment its caller went away has nobody left to come back for it. */
function giveUp(ended: Ended, parking: Parking, signal: AbortSignal): void {
  if (!signal.aborted) return
  const state = ended.kind === "result" ? ended.result["requestState"] : undefined
  if (isHandle(state)) parking.drop(state, abortError(signal))
  throw abortError(signal)
}

function checkParked(result: McpResult, link: Link, request: McpRequest, context: CallContext): void {
  if (!isHandle(result["requestState"])) checkResult(result, link, request, context)
}

/** True when something was put right that makes another attempt worthwhile and safe. */
async function remedied(
  calling: Calling,
  link: Link | undefined,
  ended: Exclude<Ended, { kind: "result" }>,
  request: McpRequest,
  context: CallContext,
  tries: Tries,
): Promise<boolean> {
  const { upstream, tools, clock } = calling
  const { signal } = context
  const http = upstream.binding === "http"
  if (ended.kind === "failed" && link?.era === "legacy" && sessionLost(ended.failure) && !tries.renewed) {
    tries.renewed = true
    upstream.lost(link)
    return true
  }
  const code = ended.kind === "error" ? ended.rpc.code : ended.failure.rpc?.code
  if (link?.era === "modern") {
    if (code === -32020 && !tries.refreshed) {
      tries.refreshed = true
      await tools.refresh(signal)
      return true
    }
    const gone = ended.kind === "failed" && code === undefined && [404, 405].includes(ended.failure.status ?? 0)
    if ((code === -32022 || gone) && http && !tries.reprobed) {
      tries.reprobed = true
      await upstream.reprobe(signal)
      return true
    }
  }
  if (ended.kind === "error") return false
  const { failure } = ended
  if (http && broke(failure)) {
    if (!failure.sent && tries.unsent < maxUnsent) {
      await clock.sleep(100 * 4 ** tries.unsent++, signal)
      return !signal.aborted
    }
    if (failure.sent && !tries.repeated && tools.repeatable(request)) return (tries.repeated = true)
  }
  return retried(calling, failure, request, signal, tries)
}

/** Failures of the network and HTTP 5xx, as often as the operator says: what was not sent, and what does no harm twice. */
async function retried(
  { retries, tools, upstream, clock }: Calling,
  failure: TransportFailure,
  request: McpRequest,
  signal: AbortSignal,
  tries: Tries,
): Promise<boolean> {
  if (tries.retried >= retries.max) return false
  const passing = (failure.status ?? 0) >= 500 || (upstream.binding === "http" && broke(failure))
  if (!passing || (failure.sent && !tools.repeatable(request))) return false
  const waitMs = Math.max(retries.backoffMs * 2 ** tries.retried++, failure.error.data.retryAfterMs ?? 0)
  if (waitMs > maxWaitMs) return false
  await clock.sleep(waitMs, signal)
  return !signal.aborted
}

/** 404 says that the session is unknown, so nothing was executed; servers made from a common example say 400 and "session". */
function sessionLost(failure: TransportFailure): boolean {
  if (failure.status === 404) return true
  return failure.status === 400 && failure.rpc?.code === -32000 && /session/i.test(failure.rpc.message)
}

/** The error a client gets, or for a legacy client of a tool the result that says so. */
function refuse(
  ended: Exclude<Ended, { kind: "result" }>,
  era: Link["era"] | undefined,
  request: McpRequest,
  context: CallContext,
): McpResult {
  if (context.signal.aborted) throw abortError(context.signal)
  const name = context.service.namespace
  let rpc: RpcError | undefined = ended.kind === "error" ? ended.rpc : undefined
  if (ended.kind === "failed") {
    const { failure } = ended
    if (failure.error.code === "capability_missing") return cannotAsk(failure.error, request, context)
    rpc = failure.rpc
    if (!rpc) {
      const unsafe = failure.sent && broke(failure) && !repeatsAnyway(request)
      throw unsafe ? outcomeUnknown(name, failure) : failure.error
    }
    // A refusal without a message of its own, such as a lost session twice over, says nothing to a client.
    if (era === "legacy" && sessionLost(failure)) throw failure.error
  }
  if (!rpc) throw new ClarityError("internal", `${name} failed`)
  if (era === "legacy" && rpc.code === -32042 && context.client.era === "modern")
    return pagesToOpen(rpc, request, context)
  const error = errorForClient(rpc, context)
  if (error.code === "capability_missing") return cannotAsk(error, request, context)
  throw error
}

function repeatsAnyway(request: McpRequest): boolean {
  return request.method !== "tools/call"
}

/** A legacy client knows no such error: for a tool it gets a result a model can read. */
function cannotAsk(error: ClarityError, request: McpRequest, context: CallContext): McpResult {
  if (context.client.era === "modern" || request.method !== "tools/call") throw error
  return {
    content: [{ type: "text", text: `${error.message}.` }],
    isError: true,
    _meta: { [metaKeys.error]: { ...error.toData(), service: context.service.namespace } },
  }
}

/** The -32042 of older revisions: pages to be opened before the call is made again. */
function pagesToOpen(rpc: RpcError, request: McpRequest, context: CallContext): McpResult {
  const name = context.service.namespace
  if (!context.client.capabilities.elicitation?.url)
    return cannotAsk(capabilityMissing(name, { elicitation: { url: {} } }), request, context)
  const listed = isJsonObject(rpc.data) ? rpc.data["elicitations"] : undefined
  const pages = (Array.isArray(listed) ? (listed as unknown[]) : []).filter(isJsonObject).slice(0, 16)
  const answers = request.params["inputResponses"]
  const declined =
    isJsonObject(answers) && Object.values(answers).some((one) => isJsonObject(one) && one["action"] !== "accept")
  if (pages.length === 0 || declined) throw upstreamError({ ...rpc, code: -32602 })
  const inputRequests: JsonObject = {}
  for (const [place, { url, message }] of pages.entries())
    inputRequests[`page_${place + 1}`] = { method: "elicitation/create", params: { mode: "url", message, url } }
  return { resultType: "input_required", inputRequests }
}
