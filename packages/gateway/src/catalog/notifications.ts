import type { McpNotification } from "@clarity-runtime/contracts"
import { sameUris, type UriMap } from "./uris.ts"

/** A notification of a call as its caller's endpoint shows it. */
export function exposeNotification(notification: McpNotification, map: UriMap): McpNotification {
  const uri = notification.params?.["uri"]
  if (map === sameUris || typeof uri !== "string") return notification
  return { ...notification, params: { ...notification.params, uri: map.out(uri) } }
}
