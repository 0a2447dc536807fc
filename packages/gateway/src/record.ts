import type { ClarityError } from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import type { Outcome } from "./outcome.ts"
import type { Route } from "./route.ts"

/** What policy said; `ask`: a person must approve first. */
export type Decision = "allow" | "deny" | "ask"

export interface Ended {
  readonly outcome: Outcome
  readonly decision: Decision
  readonly durationMs: number
}

/** One line of the timeline for every call: who, what, how it ended, how long; sizes, never arguments. */
export function recordCall(core: Core, call: Call, route: Route, { outcome, decision, durationMs }: Ended): void {
  const { method } = route.request
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
      principal: call.principal.id,
      era: call.client.era,
      bytes: call.bytes,
      depth: call.depth,
      ...(outcome.error === undefined ? {} : { code: outcome.error.code, error: outcome.error.message }),
    },
  })
}

/** A call that got no further than its name: unknown, hidden, or with a state that is not good here. */
export function recordUnrouted(core: Core, call: Call, error: ClarityError): void {
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
      principal: call.principal.id,
      era: call.client.era,
      bytes: call.bytes,
      ...(typeof named === "string" ? { target: named.slice(0, 256) } : {}),
    },
  })
}
