import {
  isJsonObject,
  metaKeys,
  modernVersions,
  type Era,
  type HeaderReader,
  type JsonObject,
} from "@clarity-runtime/contracts"

const modern: ReadonlySet<string> = new Set(modernVersions)

/**
 * Which era a message is of: modern when it carries the per-request envelope or names a modern revision, legacy
 * otherwise (MCP 2026-07-28, versioning: requests describe themselves).
 */
export function eraOf(headers: HeaderReader, method: string, params: JsonObject): Era {
  const meta = params["_meta"]
  if (isJsonObject(meta) && metaKeys.protocolVersion in meta) return "modern"
  if (method === "server/discover" || method === "subscriptions/listen") return "modern"
  return saysModern(headers) ? "modern" : "legacy"
}

/** The version header names a modern revision. */
export function saysModern(headers: HeaderReader): boolean {
  return modern.has(headers.get("mcp-protocol-version") ?? "")
}
