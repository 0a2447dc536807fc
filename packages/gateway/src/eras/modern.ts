import {
  asClarityError,
  ClarityError,
  isInputRequired,
  isJsonObject,
  metaKeys,
  modernVersions,
  whenCredentialsEnd,
  type ClientCapabilities,
  type ClientProfile,
  type JsonObject,
  type McpNotification,
  type McpResult,
  type Principal,
  type Tool,
} from "@clarity-runtime/contracts"
import type { Call, Core } from "../call.ts"
import { instructionsFor } from "../catalog/instructions.ts"
import type { CatalogView, Entry } from "../catalog/view.ts"
import { dispatch } from "../dispatch.ts"
import { errorText, jsonResponse, notificationText, resultText, type RpcId } from "../edge/rpc.ts"
import type { HttpRequest } from "../edge/http.ts"
import { isList } from "../lists.ts"
import { replyResponse, type ReplyFormat } from "../reply-response.ts"
import { requestId, runOf, traceOf } from "../trace.ts"
import type { Listeners } from "./listen.ts"
import { checkParameterHeaders, checkStandardHeaders } from "./modern-headers.ts"

export interface ModernRequest {
  readonly id: RpcId
  readonly method: string
  readonly params: JsonObject
  readonly http: HttpRequest
  readonly principal: Principal
  readonly view: CatalogView
  readonly bytes: number
}

const cacheable = new Set([
  "server/discover",
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
])
const routed = new Set(["tools/call", "prompts/get", "resources/read", "completion/complete"])
/** Lists are announced when they change, so a client may keep them this long without asking. */
const listTtlMs = 60_000

const envelopeKeys: ReadonlySet<string> = new Set([
  metaKeys.protocolVersion,
  metaKeys.clientCapabilities,
  metaKeys.clientInfo,
  metaKeys.logLevel,
])

/** Answers one request of revision 2026-07-28: no session, no handshake, everything it needs is in it. */
export async function answerModern(core: Core, listeners: Listeners, request: ModernRequest): Promise<Response> {
  const { id, method, http } = request
  try {
    const { client, meta, params } = readEnvelopeMeta(request)
    checkStandardHeaders(http.headers, method, params)
    if (method === "subscriptions/listen") return await listeners.open({ ...request, params, client })
    if (method !== "server/discover" && !routed.has(method) && !isList(method)) {
      throw new ClarityError("method_not_found", `method not found: ${method}`)
    }
    if (method === "tools/call" && typeof params["name"] === "string") {
      const tool = request.view.tool(params["name"])
      if (tool !== undefined) checkHeadersOf(tool, core, request, params)
    }
    const controller = new AbortController()
    let over = false
    const hangUp = () => {
      if (!over) controller.abort(new ClarityError("cancelled", "the client closed the stream"))
    }
    http.onClose(hangUp)
    const call: Call = {
      id: requestId(),
      request: { method, params, meta },
      principal: request.principal,
      client,
      signal: controller.signal,
      controller,
      view: request.view,
      trace: traceOf(meta, http.headers),
      run: runOf(meta, http.headers),
      depth: 0,
      bytes: request.bytes,
    }
    const format = modernFormat(core, id, method, client)
    if (method === "server/discover") return jsonResponse(format.result(discover(core, request)))
    return await replyResponse(core.alarms, dispatch(core, call), format, {
      hangUp,
      done: () => (over = true),
      opened: ({ signal, close }) => whenCredentialsEnd(request.principal, core.clock.now(), signal, close),
    })
  } catch (thrown) {
    core.refusals.record(thrown, { rpc: method, principal: request.principal.id })
    const error = asClarityError(thrown)
    return jsonResponse(errorText(id, error), error.entry.http)
  }
}

/** What is hidden is as good as not there: to be asked for its headers would tell that it is. Throws `header_mismatch`. */
function checkHeadersOf(tool: Entry<Tool>, { policy }: Core, { http, principal }: ModernRequest, params: JsonObject) {
  try {
    checkParameterHeaders(http.headers, tool.item, params["arguments"])
  } catch (mismatch) {
    if (policy.visible?.(principal, tool.service, "tool", tool.name) !== false) throw mismatch
  }
}

function modernFormat(core: Core, id: RpcId, method: string, client: ClientProfile): ReplyFormat<McpNotification> {
  return {
    streams: true,
    step: (step) =>
      step.method === "notifications/message" && client.logLevel === undefined
        ? undefined
        : notificationText(step.method, step.params),
    result: (result) => resultText(id, complete(core, method, result)),
    error: (error) => ({ text: errorText(id, error), status: statusOf(error) }),
  }
}

/** What every result of this revision carries: its type, who served it, and for lists and reads how long it keeps. */
function complete(core: Core, method: string, result: McpResult): McpResult {
  const meta = result["_meta"]
  const whole: McpResult = {
    ...result,
    resultType: result["resultType"] ?? "complete",
    _meta: isJsonObject(meta) ? { ...meta, [metaKeys.serverInfo]: core.info } : { [metaKeys.serverInfo]: core.info },
  }
  if (!cacheable.has(method) || isInputRequired(result)) return whole
  whole["ttlMs"] ??= isList(method) ? listTtlMs : 0
  // Another caller may see another list, or may not be let in at all: nobody but this one may reuse it.
  whole["cacheScope"] ??= "private"
  return whole
}

function discover(core: Core, { view, principal }: ModernRequest): McpResult {
  return {
    supportedVersions: [...modernVersions],
    capabilities: view.capabilities,
    ...instructionsFor(core.policy, view, principal),
    ttlMs: listTtlMs,
  }
}

/** Lifts the protocol's own keys out of `_meta`. Throws `invalid_params`, `header_mismatch`, `version_unsupported`. */
function readEnvelopeMeta({ params, http }: ModernRequest): {
  client: ClientProfile
  meta: JsonObject
  params: JsonObject
} {
  const { _meta: raw, ...rest } = params
  const meta = isJsonObject(raw) ? raw : {}
  const version = meta[metaKeys.protocolVersion]
  const capabilities = meta[metaKeys.clientCapabilities]
  const info = meta[metaKeys.clientInfo]
  const logLevel = meta[metaKeys.logLevel]
  const own: JsonObject = {}
  for (const key in meta) if (!envelopeKeys.has(key)) own[key] = meta[key]
  if (typeof version !== "string")
    throw new ClarityError("invalid_params", `params._meta needs "${metaKeys.protocolVersion}"`)
  const header = http.headers.get("mcp-protocol-version")?.trim()
  if (header !== version) {
    const why = header === undefined ? "is missing" : "differs from the body"
    throw new ClarityError("header_mismatch", `the header MCP-Protocol-Version ${why}`, {
      data: { header: "MCP-Protocol-Version" },
    })
  }
  if (!modernVersions.some((known) => known === version)) {
    throw new ClarityError("version_unsupported", "this protocol version is not served", {
      data: { supported: [...modernVersions], requested: version },
    })
  }
  if (!isJsonObject(capabilities))
    throw new ClarityError("invalid_params", `params._meta needs "${metaKeys.clientCapabilities}"`)
  return {
    client: {
      era: "modern",
      protocolVersion: version,
      capabilities: capabilities as ClientCapabilities,
      ...(isJsonObject(info) ? { info } : {}),
      ...(typeof logLevel === "string" ? { logLevel } : {}),
    },
    meta: own,
    params: rest,
  }
}

/** Status of an error a handler produced; those of the envelope itself keep their own (1.13 of the protocol's error table). */
function statusOf(error: ClarityError): number {
  if (error.rpc !== undefined) return 200
  const own = ["capability_missing", "method_not_found", "rate_limited", "header_mismatch", "version_unsupported"]
  return own.includes(error.code) ? error.entry.http : 200
}
