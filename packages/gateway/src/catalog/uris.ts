import { isJsonObject, type JsonObject, type McpResult } from "@clarity-runtime/contracts"

/**
 * How one service's resource URIs appear on an endpoint. On the common endpoint `<namespace>+<uri>`, so that no two
 * services collide; a `ui://` URI stays one: `ui://<namespace>.<rest>`. On a service's own endpoint they stay as they are.
 */
export interface UriMap {
  out(uri: string): string
  /** Undefined when this URI is not of this service. */
  in(uri: string): string | undefined
}

export const sameUris: UriMap = { out: (uri) => uri, in: (uri) => uri }

/** A scheme takes letters, digits, `+`, `-`, `.` and begins with a letter (RFC 3986, 3.1), a namespace does not have to. */
export function uriLabel(namespace: string): string {
  const label = namespace.replaceAll("_", "-")
  return /^[a-z]/.test(label) ? label : `s.${label}`
}

export function prefixedUris(namespace: string): UriMap {
  const label = uriLabel(namespace)
  const plain = `${label}+`
  const ui = `ui://${label}.`
  return {
    out: (uri) => (uri.startsWith("ui://") ? ui + uri.slice(5) : plain + uri),
    in: (uri) => {
      if (uri.startsWith(plain)) return uri.slice(plain.length)
      return uri.startsWith(ui) ? `ui://${uri.slice(ui.length)}` : undefined
    },
  }
}

/** The label of a prefixed URI, by which its service is found; undefined when it carries none. */
export function labelOf(uri: string): string | undefined {
  return /^(?:ui:\/\/((?:s\.)?[a-z0-9-]+)\.|((?:s\.)?[a-z0-9-]+)\+)/.exec(uri)?.slice(1).find(Boolean)
}

/** An item of a list with its URI, and the references to a page in its `_meta`, rewritten. */
export function exposeItem<T extends JsonObject>(item: T, map: UriMap): T {
  if (map === sameUris) return item
  const changes: JsonObject = {}
  for (const key of ["uri", "uriTemplate"])
    if (typeof item[key] === "string") changes[key] = map.out(item[key] as string)
  const meta = exposeMeta(item["_meta"], map)
  if (meta !== item["_meta"]) changes["_meta"] = meta
  return Object.keys(changes).length === 0 ? item : { ...item, ...changes }
}

/** Apps (SEP-1865): `_meta.ui.resourceUri` and its older flat form point at a resource of the same service. */
function exposeMeta(meta: unknown, map: UriMap): unknown {
  if (!isJsonObject(meta)) return meta
  let changed = meta
  const ui = meta["ui"]
  if (isJsonObject(ui) && typeof ui["resourceUri"] === "string") {
    changed = { ...changed, ui: { ...ui, resourceUri: map.out(ui["resourceUri"]) } }
  }
  const flat = meta["ui/resourceUri"]
  return typeof flat === "string" ? { ...changed, "ui/resourceUri": map.out(flat) } : changed
}

/** The URIs inside a result rewritten: links and embedded resources of content, contents of a read. Payloads stay as they are. */
export function exposeResult(method: string, result: McpResult, map: UriMap): McpResult {
  if (map === sameUris) return result
  if (method === "tools/call") return withList(result, "content", (item) => exposeContent(item, map))
  if (method === "resources/read") return withList(result, "contents", (item) => exposeItem(item, map))
  if (method === "prompts/get") {
    return withList(result, "messages", (message) => {
      const content = message["content"]
      if (!isJsonObject(content)) return message
      const exposed = exposeContent(content, map)
      return exposed === content ? message : { ...message, content: exposed }
    })
  }
  return result
}

function exposeContent(content: JsonObject, map: UriMap): JsonObject {
  if (content["type"] === "resource_link") return exposeItem(content, map)
  const resource = content["resource"]
  return content["type"] === "resource" && isJsonObject(resource)
    ? { ...content, resource: exposeItem(resource, map) }
    : content
}

function withList(result: McpResult, key: string, change: (item: JsonObject) => JsonObject): McpResult {
  const list = result[key]
  if (!Array.isArray(list)) return result
  let changed: unknown[] | undefined
  for (let i = 0; i < list.length; i++) {
    const item: unknown = list[i]
    if (!isJsonObject(item)) continue
    const next = change(item)
    if (next !== item) (changed ??= [...list])[i] = next
  }
  return changed === undefined ? result : { ...result, [key]: changed }
}
