import type { JsonObject, McpResult, ServiceView } from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import { pageOf } from "./catalog/pages.ts"
import type { CatalogView, Entry } from "./catalog/view.ts"

type Kind = "tool" | "prompt" | "resource"

const lists: Record<string, { key: string; kind: Kind; entries(view: CatalogView): readonly Entry<JsonObject>[] }> = {
  "tools/list": { key: "tools", kind: "tool", entries: (view) => view.tools },
  "prompts/list": { key: "prompts", kind: "prompt", entries: (view) => view.prompts },
  "resources/list": { key: "resources", kind: "resource", entries: (view) => view.resources },
  "resources/templates/list": { key: "resourceTemplates", kind: "resource", entries: (view) => view.resourceTemplates },
}

export function isList(method: string): boolean {
  return Object.hasOwn(lists, method)
}

/** Answers a list from the catalog in memory, less what policy hides from this caller. Throws `invalid_params` for a bad cursor. */
export function list(core: Core, call: Call): McpResult {
  const { key, kind, entries } = lists[call.request.method] as (typeof lists)[string]
  const { visible } = core.policy
  const seen =
    visible === undefined
      ? undefined
      : (entry: { service: ServiceView; name: string }) =>
          visible.call(core.policy, call.principal, entry.service, kind, entry.name)
  const page = pageOf(entries(call.view), call.request.params["cursor"], core.pageSize, seen)
  return { [key]: page.items, ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }) }
}
