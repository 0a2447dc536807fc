import {
  asClarityError,
  ClarityError,
  hasScope,
  type JsonObject,
  validate,
  type Principal,
  type Scope,
} from "@clarity-runtime/contracts"
import { Hono, type Context, type Handler } from "hono"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { printable, requireService } from "../match.ts"
import { openApiDocument } from "../openapi.ts"
import type { Operation } from "../operation.ts"
import { viewFor } from "../reach.ts"
import { recordFault, runOperation } from "../run-operation.ts"
import { eachOperation, operations } from "../operations/table.ts"
import { routes, streamRoutes, type Route } from "../routes.ts"
import { serviceId } from "../shapes/input.ts"
import { followEvents, followLogs } from "./follow.ts"
import { gatherInput } from "./input.ts"
import { countStreams, eventStream } from "./stream.ts"

/** What the edge in front has left: who calls, and the parsed body of a request that had one. A refusal is left for it. */
export interface ControlEnv {
  Variables: { principal: Principal; json?: unknown; refused?: ClarityError }
}

const eventsInput = v.strictObject({
  limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2000)), 100),
})
const logsInput = v.strictObject({ id: serviceId, limit: operations.getLogs.input.entries.limit })

/**
 * Every operation on its route, as a Hono app to be mounted behind the gateway's edge, which has checked Host and Origin,
 * authenticated (`principal`) and parsed a bounded body (`json`). Without a principal everything is refused.
 */
export function controlApp(context: ControlContext): Hono<ControlEnv> {
  const app = new Hono<ControlEnv>()
  const streams = countStreams()

  app.get(streamRoutes.events.path, (c) => {
    const principal = admit(c, "read")
    const { limit } = validate(
      eventsInput,
      gatherInput(eventsInput, partsOf(c, true)),
      "invalid_params",
      "invalid request",
    )
    const lastSeen = Number(c.req.header("last-event-id") ?? Number.NaN)
    const leave = streams.enter(principal.id)
    const from = { limit, ...(Number.isSafeInteger(lastSeen) ? { lastSeen } : {}) }
    const view = viewFor(context, principal)
    return eventStream(view, principal, (signal) => followEvents(view, from, signal), leave)
  })

  app.get(streamRoutes.logs.path, async (c, next) => {
    const follow = c.req.query("follow")
    const asked =
      follow === undefined ? /text\/event-stream/i.test(c.req.header("accept") ?? "") : /^(1|true|yes)$/i.test(follow)
    if (!asked) return next()
    const principal = admit(c, "read")
    const { id, limit } = validate(
      logsInput,
      gatherInput(logsInput, partsOf(c, true)),
      "invalid_params",
      "invalid request",
    )
    const view = viewFor(context, principal)
    requireService(view, id)
    const leave = streams.enter(principal.id)
    return eventStream(view, principal, (signal) => followLogs(view, { id, limit }, signal), leave)
  })

  const handlerOf =
    (operation: Operation, fromQuery: boolean): Handler<ControlEnv> =>
    async (c) => {
      const principal = admit(c, operation.scope)
      const input = gatherInput(operation.input, partsOf(c, fromQuery || c.req.method === "DELETE"))
      return answer(await runOperation(context, operation, input, { principal, signal: c.req.raw.signal }))
    }

  for (const [, operation] of eachOperation()) {
    if (operation.route === undefined) continue
    const { method, path, also }: Route = routes[operation.route]
    app.on(method, path, handlerOf(operation, method === "GET"))
    if (also !== undefined) app.on(also, path, handlerOf(operation, true))
  }

  let document: JsonObject | undefined
  app.get("/api/openapi.json", (c) => {
    admit(c, "read")
    return answer((document ??= openApiDocument()))
  })
  app.notFound((c) => refusal(new ClarityError("not_found", `no route ${c.req.method} ${printable(c.req.path)}`)))
  app.onError((thrown, c) => {
    const error = asClarityError(thrown)
    if (error.code === "forbidden" || error.code === "unauthorized") c.set("refused", error)
    if (error.code === "internal") recordFault(context, `${c.req.method} ${printable(c.req.path)}`, thrown)
    return refusal(error)
  })
  return app
}

function admit(c: Context<ControlEnv>, scope: Scope): Principal {
  const principal: Principal | undefined = c.get("principal")
  if (principal === undefined) throw new ClarityError("unauthorized", "unauthorized")
  if (!hasScope(principal, scope))
    throw new ClarityError("forbidden", `${printable(principal.id)} may not do this: it needs the scope ${scope}`, {
      data: { reason: "insufficient_scope", scope },
    })
  return principal
}

function partsOf(c: Context<ControlEnv>, fromQuery: boolean) {
  const path = c.req.param() as Record<string, string>
  const body: unknown = c.get("json")
  if (!fromQuery) return { path, body }
  const query = [...new URL(c.req.url).searchParams].filter(([name]) => name !== "follow")
  return { path, query, body }
}

function answer(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(`${JSON.stringify(body, null, 2)}\n`, {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "cache-control": "no-store", ...headers },
  })
}

function refusal(error: ClarityError): Response {
  const { retryAfterMs } = error.data
  const wait = retryAfterMs === undefined ? {} : { "retry-after": String(Math.ceil(retryAfterMs / 1000)) }
  return answer({ error: error.message, ...error.toData() }, error.entry.http, wait)
}
