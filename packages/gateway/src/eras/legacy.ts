import {
  asClarityError,
  ClarityError,
  isJsonObject,
  legacyVersions,
  whenCredentialsEnd,
  type ClientCapabilities,
  type ClientProfile,
  type HeaderReader,
  type JsonObject,
  type McpNotification,
  type McpResult,
  type Principal,
} from "@clarity-runtime/contracts"
import type { Call, Core } from "../call.ts"
import { instructionsFor } from "../catalog/instructions.ts"
import type { CatalogView } from "../catalog/view.ts"
import { dispatch } from "../dispatch.ts"
import { errorText, jsonResponse, notificationText, resultText, type RpcId, type RpcMessage } from "../edge/rpc.ts"
import type { HttpRequest } from "../edge/http.ts"
import { replyResponse, type ReplyFormat } from "../reply-response.ts"
import { watchResource } from "../subscriptions.ts"
import { requestId, runOf, traceOf } from "../trace.ts"
import { askingBack, type ClientRequest } from "./ask-back.ts"
import { legacyResult } from "./legacy-shape.ts"
import type { Session, Sessions } from "./sessions.ts"

export interface LegacyRequest {
  readonly message: RpcMessage
  readonly http: HttpRequest
  readonly principal: Principal
  readonly view: CatalogView
  readonly bytes: number
}

const sessionHeader = "mcp-session-id"
const newest = legacyVersions[0]

/**
 * Answers one POST of the revisions up to 2025-11-25. A client that shakes hands gets a session; one that does not is
 * served all the same, but cannot be asked, told of changes, or cancel.
 */
export async function answerLegacy(core: Core, sessions: Sessions, request: LegacyRequest): Promise<Response> {
  const { message, http, principal, view } = request
  checkVersion(http.headers)
  if (message.kind === "request" && message.method === "initialize")
    return initialize(core, sessions, request, message.id, message.params)
  const session = sessionOf(sessions, http.headers, principal, view)
  session?.touch()
  if (message.kind === "response") {
    if (session === undefined)
      throw new ClarityError("invalid_request", "a response needs the session of the request it answers")
    session.settle(message.id, message)
    return new Response(null, { status: 202 })
  }
  if (message.kind === "notification") {
    if (session !== undefined) receive(session, message.method, message.params)
    return new Response(null, { status: 202 })
  }
  return answerRequest(core, session, request, message)
}

/** GET: the stream for what belongs to no request, or the rest of a stream that broke. */
export function openLegacyStream(
  core: Core,
  sessions: Sessions,
  http: HttpRequest,
  principal: Principal,
  view: CatalogView,
): Response {
  const session = sessionOf(sessions, http.headers, principal, view)
  if (session === undefined) return new Response(null, { status: 405, headers: { allow: "POST" } })
  session.touch()
  const last = http.headers.get("last-event-id")
  const untilCredentialsEnd = endingWith(core, principal)
  if (last === null) return session.standing.attach(undefined, untilCredentialsEnd)
  const [, stream, seq] = /^([A-Za-z0-9_-]{1,64})\/(\d{1,15})$/.exec(last) ?? []
  const log = stream === undefined ? undefined : session.findStream(stream)
  if (log === undefined) throw new ClarityError("invalid_request", "Last-Event-ID names no stream of this session")
  return log.attach(Number(seq), untilCredentialsEnd)
}

/** Closes a stream when the credentials it was opened with are no longer good. */
function endingWith(core: Core, principal: Principal): (stream: { signal: AbortSignal; close: () => void }) => void {
  return ({ signal, close }) => whenCredentialsEnd(principal, core.clock.now(), signal, close)
}

export function endSession(sessions: Sessions, http: HttpRequest, principal: Principal, view: CatalogView): Response {
  const session = sessionOf(sessions, http.headers, principal, view)
  if (session === undefined) return new Response(null, { status: 405, headers: { allow: "POST" } })
  session.end()
  return new Response(null, { status: 204 })
}

function sessionOf(
  sessions: Sessions,
  headers: HeaderReader,
  principal: Principal,
  view: CatalogView,
): Session | undefined {
  const id = headers.get(sessionHeader)
  if (id === null) return undefined
  const session = sessions.find(id, principal, view.namespace)
  if (session === undefined) throw new ClarityError("not_found", "unknown or expired session")
  return session
}

function checkVersion(headers: HeaderReader): void {
  const version = headers.get("mcp-protocol-version")
  if (version === null || legacyVersions.some((known) => known === version)) return
  throw new ClarityError("version_unsupported", "this protocol version is not served", {
    data: { supported: [...legacyVersions], requested: version.slice(0, 64) },
  })
}

function initialize(
  core: Core,
  sessions: Sessions,
  { principal, view, http }: LegacyRequest,
  id: RpcId,
  params: JsonObject,
): Response {
  const asked = params["protocolVersion"]
  if (typeof asked !== "string")
    return jsonResponse(errorText(id, new ClarityError("invalid_params", "initialize needs params.protocolVersion")))
  const protocolVersion = legacyVersions.find((known) => known === asked) ?? newest
  const capabilities = isJsonObject(params["capabilities"]) ? (params["capabilities"] as ClientCapabilities) : {}
  const info = isJsonObject(params["clientInfo"]) ? withoutIcons(params["clientInfo"]) : undefined
  // A session remembers both for as long as it lives.
  if (Buffer.byteLength(JSON.stringify([capabilities, info])) > maxProfileBytes) {
    const why = `clientInfo and capabilities may have at most ${maxProfileBytes} bytes together`
    return jsonResponse(errorText(id, new ClarityError("invalid_params", why)))
  }
  const client: ClientProfile = {
    era: "legacy",
    protocolVersion,
    // Who takes JSON only cannot be asked anything in the middle of a call.
    capabilities: takesStreams(http.headers) ? capabilities : {},
    logLevel: "info",
    ...(info === undefined ? {} : { info }),
  }
  const session = sessions.create(principal, view.namespace, client)
  const result = {
    protocolVersion,
    capabilities: view.capabilities,
    serverInfo: core.info,
    ...instructionsFor(core.policy, view, principal),
  }
  return jsonResponse(resultText(id, result), 200, { [sessionHeader]: session.id })
}

const maxProfileBytes = 16_384

/** Pictures may be large, and nobody here looks at them. */
function withoutIcons({ icons: _icons, ...info }: JsonObject): JsonObject {
  return info
}

function receive(session: Session, method: string, params: JsonObject): void {
  if (method !== "notifications/cancelled") return
  const id = params["requestId"]
  if (typeof id !== "string" && typeof id !== "number") return
  session.running.get(id)?.abort(new ClarityError("cancelled", "the client cancelled the call"))
}

async function answerRequest(
  core: Core,
  session: Session | undefined,
  request: LegacyRequest,
  message: RpcMessage & { kind: "request" },
): Promise<Response> {
  const { id, method, params } = message
  const { http, principal, view } = request
  const client: ClientProfile = session?.client ?? {
    era: "legacy",
    protocolVersion: http.headers.get("mcp-protocol-version") ?? "2025-03-26",
    capabilities: {},
    logLevel: "info",
  }
  const streams = takesStreams(http.headers)
  const format = legacyFormat(id, method, streams)
  const own = await answerOwn(core, session, request, method, params).catch((error: unknown) => asClarityError(error))
  if (own instanceof ClarityError) {
    core.refusals.record(own, { rpc: method, principal: principal.id })
    return jsonResponse(errorText(id, own))
  }
  if (own !== undefined) return jsonResponse(resultText(id, own))

  const controller = new AbortController()
  session?.running.set(id, controller)
  const { _meta: meta, ...rest } = params
  const call: Call = {
    id: requestId(),
    request: { method, params: rest, meta: isJsonObject(meta) ? meta : {} },
    principal,
    client,
    signal: controller.signal,
    controller,
    view,
    session: session?.id,
    trace: traceOf(isJsonObject(meta) ? meta : {}, http.headers),
    run: runOf(isJsonObject(meta) ? meta : {}, http.headers),
    depth: 0,
    bytes: request.bytes,
  }
  const reply = tracked(
    askingBack(
      core,
      streams ? session : undefined,
      call.request,
      (asked) => dispatch(core, { ...call, request: asked }),
      call.signal,
    ),
    () => session?.running.get(id) === controller && session.running.delete(id),
  )
  // A client of these revisions cancels by saying so: losing its connection does not stop the call of a session.
  let over = false
  const hangUp = () => {
    if (!over) controller.abort(new ClarityError("cancelled", "the client closed the connection"))
  }
  const opened = endingWith(core, principal)
  const ends = { hangUp, done: () => (over = true), opened }
  if (session === undefined) {
    http.onClose(hangUp)
    return replyResponse(core.alarms, reply, format, ends)
  }
  return replyResponse(core.alarms, reply, format, ends, () => {
    const log = session.openStream()
    return { response: log.attach(0, opened), sink: log }
  })
}

async function* tracked<T>(
  reply: AsyncGenerator<T, McpResult, void>,
  done: () => void,
): AsyncGenerator<T, McpResult, void> {
  try {
    return yield* reply
  } finally {
    done()
  }
}

/** Methods that the gateway answers itself in this era; undefined: it is a list or a call. */
async function answerOwn(
  core: Core,
  session: Session | undefined,
  { view, principal }: LegacyRequest,
  method: string,
  params: JsonObject,
): Promise<JsonObject | undefined> {
  switch (method) {
    case "ping":
      return {}
    case "logging/setLevel": {
      const level = params["level"]
      if (typeof level !== "string" || !logLevels.has(level))
        throw new ClarityError("invalid_params", "logging/setLevel needs params.level, a log level")
      if (session !== undefined) session.client = { ...session.client, logLevel: level }
      return {}
    }
    case "resources/subscribe": {
      const uri = uriOf(params, method)
      if (session === undefined) throw new ClarityError("invalid_request", "subscribing needs a session")
      if (session.subscriptions.has(uri)) return {}
      if (session.subscriptions.size >= 256)
        throw new ClarityError("rate_limited", "too many subscriptions in this session (256/256)")
      const ending = new AbortController()
      session.subscriptions.set(uri, ending)
      const updated = (body: JsonObject) => session.notify("notifications/resources/updated", body)
      try {
        await watchResource(core, {
          uri,
          view,
          principal,
          client: session.client,
          session: session.id,
          signal: ending.signal,
          updated,
          ended: () => session.subscriptions.get(uri) === ending && session.subscriptions.delete(uri),
        })
      } catch (error) {
        if (session.subscriptions.get(uri) === ending) session.subscriptions.delete(uri)
        throw error
      }
      return {}
    }
    case "resources/unsubscribe": {
      const uri = uriOf(params, method)
      session?.subscriptions.get(uri)?.abort()
      session?.subscriptions.delete(uri)
      return {}
    }
    default:
      return undefined
  }
}

const logLevels = new Set(["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"])

function uriOf(params: JsonObject, method: string): string {
  const { uri } = params
  if (typeof uri !== "string" || uri === "" || uri.length > 8192)
    throw new ClarityError("invalid_params", `${method} needs params.uri`)
  return uri
}

function legacyFormat(id: RpcId, method: string, streams: boolean): ReplyFormat<McpNotification | ClientRequest> {
  return {
    streams,
    step: (step) =>
      "id" in step
        ? JSON.stringify({ jsonrpc: "2.0", id: step.id, method: step.method, params: step.params })
        : notificationText(step.method, step.params),
    result: (result) => resultText(id, legacyResult(method, result)),
    error: (error) => ({ text: errorText(id, error), status: 200 }),
  }
}

function takesStreams(headers: HeaderReader): boolean {
  return /text\/event-stream|\*\/\*/i.test(headers.get("accept") ?? "")
}
