import { metaKeys, type CallContext, type JsonObject, type McpRequest } from "@clarity-runtime/contracts"

/** What the runtime calls itself where it speaks for nobody. */
export const runtimeInfo: JsonObject = { name: "clarity-runtime", version: "1" }

/** The caller's progress token, when it gave a proper one. */
export function progressTokenOf(meta: JsonObject): string | number | undefined {
  const token = meta["progressToken"]
  return typeof token === "string" || typeof token === "number" ? token : undefined
}

/** `params` of a modern request that speaks for the end client. The upstream sees our progress token, never the caller's. */
export function modernParams(
  request: McpRequest,
  context: CallContext,
  version: string,
  progressToken: number | undefined,
): JsonObject {
  const { client } = context
  const meta: JsonObject = { ...request.meta, ...context.trace }
  meta[metaKeys.protocolVersion] = version
  meta[metaKeys.clientCapabilities] = client.capabilities
  meta[metaKeys.clientInfo] = client.info ?? runtimeInfo
  if (client.logLevel !== undefined) meta[metaKeys.logLevel] = client.logLevel
  if (progressToken === undefined) delete meta["progressToken"]
  else meta["progressToken"] = progressToken
  return { ...request.params, _meta: meta }
}

/** `params` of a legacy request: no envelope, no answers of a round the upstream never heard of. */
export function legacyParams(request: McpRequest, context: CallContext, progressToken: number | undefined): JsonObject {
  const { inputResponses: _answers, requestState: _state, ...params } = request.params
  const { progressToken: _token, ...meta } = request.meta
  Object.assign(meta, context.trace)
  if (progressToken !== undefined) meta["progressToken"] = progressToken
  return Object.keys(meta).length > 0 ? { ...params, _meta: meta } : params
}

/** `params` of a modern request of the peer's own. */
export function ownParams(version: string, capabilities: JsonObject, params: JsonObject = {}): JsonObject {
  return {
    ...params,
    _meta: {
      [metaKeys.protocolVersion]: version,
      [metaKeys.clientCapabilities]: capabilities,
      [metaKeys.clientInfo]: runtimeInfo,
    },
  }
}
