import type { CallContext, McpNotification } from "@clarity-runtime/contracts"
import type { Notice } from "./exchange.ts"
import { wantsLine } from "./log-levels.ts"

/** What goes to watchers, or to nobody, and never into a call. */
const apart = new Set([
  "notifications/tools/list_changed",
  "notifications/resources/list_changed",
  "notifications/prompts/list_changed",
  "notifications/resources/updated",
  "notifications/elicitation/complete",
  "notifications/cancelled",
])

/** An upstream's notice as its caller gets it: under the caller's own progress token, at the caller's log level, or not at all. */
export function forCaller(
  notice: Notice,
  context: CallContext,
  token: string | number | undefined,
): McpNotification | undefined {
  const { method, params } = notice
  if (method === "notifications/progress")
    return token === undefined ? undefined : { method, params: { ...params, progressToken: token } }
  if (method === "notifications/message") return wantsLine(params, context) ? { method, params } : undefined
  return apart.has(method) ? undefined : { method, params }
}
