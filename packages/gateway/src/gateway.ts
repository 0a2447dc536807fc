import { readFileSync } from "node:fs"
import {
  asClarityError,
  ClarityError,
  isJsonObject,
  reaches,
  silentTelemetry,
  systemClock,
  type Authenticator,
  type BackendSource,
  type Caller,
  type CallOptions,
  type Clock,
  type McpRequest,
  type Policy,
  type Principal,
  type Reply,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { createAlarms } from "./alarms.ts"
import type { Core } from "./call.ts"
import { createCatalogBuilder } from "./catalog/build.ts"
import type { Catalog } from "./catalog/view.ts"
import { createListChanges } from "./changes.ts"
import { dispatch } from "./dispatch.ts"
import { readJsonBody } from "./edge/body.ts"
import { createEdge, pathOf, type Edge } from "./edge/edge.ts"
import { checkBodyType, type GateOptions } from "./edge/gate.ts"
import { createRefusals } from "./edge/refusals.ts"
import { httpRequest, type NodeBindings } from "./edge/http.ts"
import { errorText, idOf, jsonResponse, readEnvelope } from "./edge/rpc.ts"
import { answerBatch } from "./eras/batch.ts"
import { eraOf, saysModern } from "./eras/detect.ts"
import { answerLegacy, endSession, openLegacyStream } from "./eras/legacy.ts"
import { createListeners } from "./eras/listen.ts"
import { answerModern } from "./eras/modern.ts"
import { createSessions } from "./eras/sessions.ts"
import { createParkingLot } from "./parking.ts"
import { checkScope } from "./scope.ts"
import { createSeal } from "./seal.ts"
import { createSpent } from "./spent.ts"
import { requestId } from "./trace.ts"

export interface GatewayOptions extends GateOptions {
  /** Where services come from: a supervisor, `openOnUse(...)`, or several joined. */
  readonly source: BackendSource
  /** Who may come in; required, so that openness is a word somebody wrote (`anonymous()`). */
  readonly authenticators: readonly Authenticator[]
  /** What they may do; required for the same reason (`allowAll()`). */
  readonly policy: Policy
  readonly telemetry?: Telemetry
  readonly clock?: Clock
  /** Path of the common endpoint; services have theirs below it. Default `/mcp`. */
  readonly path?: string
  /** Largest request body in bytes. Default 4 MiB. */
  readonly maxBodyBytes?: number
  /** Items of one page of a list. Default 1,000. */
  readonly pageSize?: number
  /** How long a call waits for a person's answer, milliseconds. Default 10 minutes. */
  readonly patienceMs?: number
  /** 32 bytes that seal `requestState`; give the same to every process that shall accept it. Default: fresh. */
  readonly stateKey?: Uint8Array
  readonly info?: { readonly name: string; readonly version: string; readonly title: string }
}

/** One MCP endpoint in front of many services, as a web-standard function. */
export interface Gateway extends Caller, AsyncDisposable {
  /** Answers a request; pass Node's bindings (`c.env` of @hono/node-server) where there are any. */
  fetch(request: Request, env?: unknown): Promise<Response>
  /** Calls from inside the process; policy applies as on the wire. */
  call(request: McpRequest, options: CallOptions): Reply
  /** The way in, to be put before the app's other routes. */
  readonly edge: Edge
  /**
   * Ends what waits for news (listen streams, standing streams) and takes no new requests: what belongs to calls under
   * way, answers and cancellations of their clients, still comes in.
   */
  drain(): void
}

/** Who an embedded gateway says it is: this package, as it was published. */
function ownInfo(): NonNullable<GatewayOptions["info"]> {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string
  }
  return { name: "clarity-runtime", version, title: "Clarity Runtime" }
}

/** Creates a gateway. It follows its source from now until it is disposed. */
export function createGateway(options: GatewayOptions): Gateway {
  const { source, policy, telemetry = silentTelemetry, clock = systemClock, path = "/mcp" } = options
  const { maxBodyBytes = 4 * 1024 * 1024, patienceMs = 600_000 } = options
  const closing = new AbortController()
  const refusals = createRefusals(telemetry)
  const edge = createEdge({ ...options, refusals })
  const build = createCatalogBuilder()
  const listChanges = createListChanges()
  let draining = false
  let snapshot = source.snapshot()
  let catalog: Catalog = build(snapshot)

  const core: Core = {
    source,
    policy,
    telemetry,
    clock,
    catalog: () => catalog,
    alarms: createAlarms(),
    refusals,
    watches: new Map(),
    parking: createParkingLot({ clock, capacity: 1024, perPrincipal: 64, expiryMs: patienceMs }),
    seal: createSeal({
      expiryMs: patienceMs,
      now: () => clock.now(),
      ...(options.stateKey ? { key: options.stateKey } : {}),
    }),
    spent: createSpent({ now: () => clock.now(), capacity: 16_384 }),
    info: options.info ?? ownInfo(),
    pageSize: options.pageSize ?? 1000,
    patienceMs,
  }
  const sessions = createSessions(clock, { idleMs: 1_800_000, total: 10_000, perPrincipal: 1000 })
  const listeners = createListeners(core, (signal) => listChanges.changes.subscribe(signal))
  void follow()

  async function follow(): Promise<void> {
    for await (const next of source.changes(closing.signal)) {
      const before = snapshot
      snapshot = next
      catalog = build(next)
      try {
        listChanges.compare(before, next)
      } catch (thrown) {
        telemetry.record({
          kind: "gateway.failed",
          level: "error",
          message: `comparing catalogs: ${asClarityError(thrown).message}`,
        })
      }
    }
  }
  void announce()
  void followPolicy()

  /** Other rules, other lists: whoever keeps one is told that it may have changed. */
  async function followPolicy(): Promise<void> {
    for await (const _ of policy.changes?.(closing.signal) ?? []) {
      const namespaces = new Set(snapshot.services.map(({ namespace }) => namespace))
      listChanges.changes.publish({ lists: new Set(["tools", "prompts", "resources"]), namespaces })
    }
  }

  async function announce(): Promise<void> {
    for await (const change of listChanges.changes.subscribe(closing.signal)) {
      for (const session of sessions.all()) {
        if (session.namespace !== undefined && !change.namespaces.has(session.namespace)) continue
        for (const list of change.lists) session.notify(`notifications/${list}/list_changed`)
      }
    }
  }

  async function answer(
    request: Request,
    env: NodeBindings | undefined,
    namespace: string | undefined,
  ): Promise<Response> {
    const http = httpRequest(request, env)
    const refuse = (thrown: unknown, who: Principal, id?: string | number) => {
      edge.refused(thrown, request, env, who)
      return refusal(asClarityError(thrown), edge, id)
    }
    let principal: Principal
    try {
      const admitted = edge.admit(request, env, http)
      principal = admitted instanceof Promise ? await admitted : admitted
    } catch (thrown) {
      return refusal(asClarityError(thrown), edge)
    }
    const known = namespace === undefined || reaches(principal, namespace)
    const view = namespace === undefined ? catalog.common : known ? catalog.of(namespace) : undefined
    if (view === undefined)
      return refuse(new ClarityError("not_found", `no service has the namespace ${namespace}`), principal)
    try {
      if (request.method === "GET") return openLegacyStream(core, sessions, http, principal, view)
      if (request.method === "DELETE") return endSession(sessions, http, principal, view)
      if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST, GET, DELETE" } })
    } catch (thrown) {
      return refuse(thrown, principal)
    }
    let value: unknown
    try {
      checkBodyType(http.headers)
      const body = await readJsonBody(http, maxBodyBytes)
      value = body.value
      const { bytes } = body
      if (draining && isNew(value))
        throw new ClarityError("unavailable", "the runtime is stopping and takes no new requests", {
          data: { reason: "draining", retryAfterMs: 5000 },
        })
      if (Array.isArray(value)) return await answerBatch(core, sessions, value, { http, principal, view, bytes })
      const message = readEnvelope(value)
      if (message.kind === "request") checkScope(principal, message.method)
      if (message.kind !== "request" && saysModern(http.headers)) {
        // This revision has no notifications over HTTP, and no responses at all; header rules for the former are open.
        if (message.kind === "notification") return new Response(null, { status: 202 })
        throw new ClarityError("invalid_request", "a client of this revision sends no responses")
      }
      if (message.kind !== "request" || eraOf(http.headers, message.method, message.params) === "legacy") {
        return await answerLegacy(core, sessions, { message, http, principal, view, bytes })
      }
      return await answerModern(core, listeners, { ...message, http, principal, view, bytes })
    } catch (thrown) {
      return refuse(thrown, principal, idOf(value))
    }
  }

  function answerAt(request: Request, env: NodeBindings | undefined): Promise<Response> | Response {
    const at = pathOf(request.url)
    if (at === path) return answer(request, env, undefined)
    const namespace = at.startsWith(`${path}/`) ? at.slice(path.length + 1) : ""
    if (/^[a-z0-9_]{1,128}$/.test(namespace)) return answer(request, env, namespace)
    return refusal(new ClarityError("not_found", "no such endpoint"), edge)
  }

  /** A request that a web page makes: its browser asks first and lets the page read only what we say it may. */
  async function fetchForPage(request: Request, env: NodeBindings | undefined): Promise<Response> {
    try {
      if (request.method === "OPTIONS") return edge.preflight(request, env)
    } catch (thrown) {
      return refusal(asClarityError(thrown), edge)
    }
    const response = await answerAt(request, env)
    for (const [name, value] of Object.entries(edge.corsHeaders(request.headers))) response.headers.set(name, value)
    return response
  }

  return {
    edge,
    async fetch(request, env) {
      const bindings = env as NodeBindings | undefined
      const origin =
        bindings?.incoming?.headers === undefined ? request.headers.get("origin") : bindings.incoming.headers.origin
      return origin ? fetchForPage(request, bindings) : answerAt(request, bindings)
    },
    call(request, { principal, signal, client, parent, namespace }) {
      const view = namespace === undefined ? catalog.common : catalog.of(namespace)
      if (view === undefined) throw new ClarityError("not_found", `no service has the namespace ${namespace}`)
      return dispatch(core, {
        id: requestId(),
        request,
        principal,
        client: client ?? { era: "modern", protocolVersion: "2026-07-28", capabilities: {} },
        signal,
        view,
        trace: {},
        depth: parent === undefined ? 0 : parent.depth + 1,
        bytes: 0,
      })
    },
    drain() {
      draining = true
      listeners.close()
      for (const session of sessions.all()) session.standing.end()
    },
    async [Symbol.asyncDispose]() {
      closing.abort()
      listeners.close()
      sessions.close()
      core.parking.clear()
      core.alarms.close()
      edge[Symbol.dispose]()
    },
  }
}

/** True for what begins something: a request, or a batch, which may hold some. */
function isNew(value: unknown): boolean {
  return Array.isArray(value) || (isJsonObject(value) && "method" in value && "id" in value)
}

/** A refusal before or instead of a call, as a JSON-RPC error with the HTTP status it deserves. */
function refusal(error: ClarityError, edge: Edge, id?: string | number): Response {
  const headers: Record<string, string> = {}
  const challenge = edge.challengeOf(error)
  if (challenge !== undefined) headers["www-authenticate"] = challenge
  if (error.code === "payload_too_large") headers["connection"] = "close"
  if (error.data.retryAfterMs !== undefined) headers["retry-after"] = String(Math.ceil(error.data.retryAfterMs / 1000))
  return jsonResponse(errorText(id, error), error.entry.http, headers)
}
