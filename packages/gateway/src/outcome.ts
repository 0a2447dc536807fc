import { ClarityError, metaKeys, type CallOutcome, type McpResult, type ServiceView } from "@clarity-runtime/contracts"

export type Outcome = Omit<CallOutcome, "durationMs">

/**
 * How a call ended, as policy and the timeline see it: only faults of the service count against the service, and only
 * where it was `reached`; that it is stopped or starting is no fault of an exchange.
 */
export function outcomeOf(result: McpResult | undefined, error?: ClarityError, reached = false): Outcome {
  if (error === undefined) return { kind: result?.["isError"] === true ? "tool_error" : "ok" }
  if (error.code === "cancelled") return { kind: "cancelled", error }
  if (error.rpc !== undefined) return { kind: "tool_error", error }
  const upstream = [
    "upstream_invalid",
    "upstream_timeout",
    "upstream_unauthorized",
    "outcome_unknown",
    "unavailable",
    "result_too_large",
  ]
  return { kind: reached && upstream.includes(error.code) ? "upstream_error" : "rejected", error }
}

/** A failure of the runtime's own as a tool result: words for the model, `{code, retryable, ...}` for programs. */
export function failedToolResult(error: ClarityError, service: ServiceView, requestId: string): McpResult {
  const data = { ...error.toData(), service: service.namespace, requestId }
  return {
    content: [{ type: "text", text: error.message }],
    isError: true,
    _meta: { [metaKeys.error]: data },
  }
}
