import {
  metaKeys,
  usageOf,
  type CallOutcome,
  type ClarityError,
  type McpResult,
  type ModelUsage,
  type ServiceView,
} from "@clarity-runtime/contracts"

export type Outcome = Omit<CallOutcome, "durationMs">

/**
 * How a call ended, as policy and the timeline see it: only faults of the service count against the service, and only
 * where it was `reached`; that it is stopped or starting is no fault of an exchange.
 */
export function outcomeOf(result: McpResult | undefined, error?: ClarityError, reached = false): Outcome {
  if (error === undefined) return { kind: result?.["isError"] === true ? "tool_error" : "ok" }
  if (error.code === "cancelled") return { kind: "cancelled", error }
  // What is too large was asked for by the caller; the service itself is well.
  if (error.rpc !== undefined || error.code === "result_too_large") return { kind: "tool_error", error }
  const upstream = ["upstream_invalid", "upstream_timeout", "outcome_unknown", "unavailable"]
  return { kind: reached && upstream.includes(error.code) ? "upstream_error" : "rejected", error }
}

/** How a call ended, for whoever keeps books on it: what takes work to find out is worked out when it is asked for. */
export class Settled implements CallOutcome {
  readonly kind: CallOutcome["kind"]
  readonly durationMs: number
  declare readonly error?: ClarityError
  readonly #result: McpResult | undefined

  constructor({ kind, error }: Outcome, durationMs: number, result: McpResult | undefined) {
    this.kind = kind
    this.durationMs = durationMs
    if (error !== undefined) this.error = error
    this.#result = result
  }

  get resultBytes(): number {
    return this.#result === undefined ? 0 : Buffer.byteLength(JSON.stringify(this.#result))
  }

  get usage(): ModelUsage | undefined {
    return this.#result === undefined ? undefined : usageOf(this.#result)
  }
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
