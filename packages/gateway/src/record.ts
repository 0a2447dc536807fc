import { ClarityError, isJsonObject, type JsonObject } from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import type { Outcome } from "./outcome.ts"
import type { Route } from "./route.ts"
import { digestOfTool, shapeOf } from "./shape.ts"

/** What policy said; `ask`: a person must approve first. */
export type Decision = "allow" | "deny" | "ask"

export interface Ended {
  readonly outcome: Outcome
  readonly decision: Decision
  readonly durationMs: number
}

/** One line of the timeline for every call: who, what, how it ended, how long; the shape of its arguments, never a value. */
export function recordCall(core: Core, call: Call, route: Route, { outcome, decision, durationMs }: Ended): void {
  const { method, params } = route.request
  const args = params["arguments"]
  const schema = digestOfTool(route)
  const { version } = core.policy
  if (outcome.error !== undefined) core.refusals.know(outcome.error)
  const failed = outcome.kind === "upstream_error" || outcome.kind === "rejected"
  core.telemetry.record({
    kind: method === "tools/call" ? "mcp.tool_called" : "mcp.request",
    level: failed ? "error" : outcome.kind === "ok" ? "info" : "warn",
    message: `${method} ${route.target}: ${decision === "allow" ? outcome.kind : decision}`,
    serviceId: route.service.id,
    data: {
      requestId: call.id,
      method,
      tool: route.target,
      decision,
      outcome: outcome.kind,
      durationMs: Math.round(durationMs * 1000) / 1000,
      ...callerOf(call),
      depth: call.depth,
      ...(schema === undefined ? {} : { schema }),
      ...(version === undefined ? {} : { policy: version }),
      ...(isJsonObject(args) ? { arguments: shapeOf(args) } : {}),
      ...(outcome.error === undefined ? {} : { code: outcome.error.code, error: wordsOf(outcome.error) }),
    },
  })
}

/** A call that got no further than its name: unknown, hidden, or with a state that is not good here. */
export function recordUnrouted(core: Core, call: Call, error: ClarityError): void {
  core.refusals.know(error)
  const { method, params } = call.request
  const named = params["name"] ?? params["uri"]
  core.telemetry.record({
    kind: "mcp.refused",
    level: "warn",
    message: `${method.slice(0, 256)}: ${error.message}`,
    data: {
      requestId: call.id,
      method: method.slice(0, 256),
      decision: "deny",
      code: error.code,
      ...(error.cause instanceof ClarityError ? { reason: error.cause.message } : {}),
      ...callerOf(call),
      ...(typeof named === "string" ? { target: named.slice(0, 256) } : {}),
    },
  })
}

/** What an upstream says in an error of its own is its caller's affair: it may repeat their arguments. */
function wordsOf(error: ClarityError): string {
  return error.rpc === undefined ? error.message : `error ${error.rpc.code} of the service`
}

function callerOf({ principal, client, bytes }: Call): JsonObject {
  const { name, version } = client.info ?? {}
  return {
    principal: principal.id,
    ...(typeof name === "string" ? { client: `${name.slice(0, 64)}/${String(version ?? "").slice(0, 32)}` } : {}),
    era: client.era,
    bytes,
  }
}
