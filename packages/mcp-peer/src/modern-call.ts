import {
  abortError,
  ClarityError,
  isJsonObject,
  metaKeys,
  type CallContext,
  type JsonObject,
  type McpNotification,
  type McpRequest,
  type McpResult,
} from "@clarity-runtime/contracts"
import { modernParams, progressTokenOf } from "./envelope.ts"
import type { Ended } from "./exchange.ts"
import type { Link } from "./handshake.ts"
import { askingMethods } from "./legacy-call.ts"
import { modernHeaders, type HeaderParameter } from "./modern-headers.ts"
import { forCaller } from "./notices.ts"

/** One request to a modern upstream, spoken for the end client. */
export async function* callModern(
  link: Link,
  request: McpRequest,
  context: CallContext,
  parameters: readonly HeaderParameter[] | undefined,
): AsyncGenerator<McpNotification, Ended> {
  const { connection } = link
  const { signal } = context
  const token = progressTokenOf(request.meta)
  const headers =
    connection.binding === "http" ? modernHeaders(request.method, request.params, parameters, context.trace) : undefined
  const exchange = connection.request(
    request.method,
    (id) => modernParams(request, context, link.version, token === undefined ? undefined : id),
    { purpose: "call", limits: context.limits, ...(headers ? { headers } : {}) },
  )
  const abort = () => connection.cancel(exchange, abortError(signal))
  if (signal.aborted) abort()
  else signal.addEventListener("abort", abort, { once: true })
  let over = false
  try {
    for (;;) {
      const event = await exchange.next()
      if (event.kind === "notification") {
        const notification = forCaller(event, context, token)
        if (notification) yield notification
      } else if (event.kind !== "question") {
        over = true
        return event
      }
    }
  } finally {
    signal.removeEventListener("abort", abort)
    if (!over) connection.cancel(exchange, new ClarityError("cancelled", "the caller went away"))
  }
}

/** Holds a result against what may stand in `resultType`. Throws `upstream_invalid`. */
export function checkResult(result: McpResult, link: Link, request: McpRequest, context: CallContext): void {
  const type = result["resultType"]
  if (type === undefined || type === "complete") return
  const name = context.service.namespace
  if (link.era === "modern") {
    if (type === "input_required" && askingMethods.has(request.method)) {
      const { inputRequests, requestState } = result
      if (isJsonObject(inputRequests) || (inputRequests === undefined && typeof requestState === "string")) return
      throw new ClarityError("upstream_invalid", `${name} requires input without saying which`, {
        data: { service: name },
      })
    }
    const { extensions } = context.client.capabilities
    if (type === "task" && extensions?.["io.modelcontextprotocol/tasks"] !== undefined) return
  }
  throw new ClarityError("upstream_invalid", `${name} answered ${request.method} with an unknown resultType`, {
    data: { service: name },
  })
}

/** The gateway answers for itself: who the upstream says it is stays here. */
export function withoutServerInfo(result: McpResult): McpResult {
  const meta = result["_meta"]
  if (!isJsonObject(meta) || !(metaKeys.serverInfo in meta)) return result
  const { [metaKeys.serverInfo]: _info, ...kept } = meta
  if (Object.keys(kept).length > 0) return { ...result, _meta: kept }
  const { _meta, ...rest } = result
  return rest satisfies JsonObject
}
