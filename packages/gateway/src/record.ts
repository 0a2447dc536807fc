import type { Call, Core } from "./call.ts"
import type { Outcome } from "./outcome.ts"
import type { Route } from "./route.ts"

/** One line of the timeline for every call: who, what, how it ended, how long; sizes, never arguments. */
export function recordCall(core: Core, call: Call, route: Route, outcome: Outcome, durationMs: number): void {
  const { method } = route.request
  const failed = outcome.kind === "upstream_error" || outcome.kind === "rejected"
  core.telemetry.record({
    kind: method === "tools/call" ? "mcp.tool_called" : "mcp.request",
    level: failed ? "error" : outcome.kind === "ok" ? "info" : "warn",
    message: `${method} ${route.target}: ${outcome.kind}`,
    serviceId: route.service.id,
    data: {
      requestId: call.id,
      method,
      tool: route.target,
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
