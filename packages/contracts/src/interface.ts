import { createHash } from "node:crypto"
import { canonicalJson, type JsonObject } from "./json.ts"
import type { Era } from "./request.ts"

/** An item of an upstream's list, kept as it was sent; only the key that routes it is known here. */
export type Tool = JsonObject & { readonly name: string }
export type Prompt = JsonObject & { readonly name: string }
export type Resource = JsonObject & { readonly uri: string }
export type ResourceTemplate = JsonObject & { readonly uriTemplate: string }

/** What one service offers, as it said itself. Immutable once made. */
export interface Interface {
  readonly tools: readonly Tool[]
  readonly resources: readonly Resource[]
  readonly resourceTemplates: readonly ResourceTemplate[]
  readonly prompts: readonly Prompt[]
  /** Server capabilities as declared; `resources.subscribe`, `completions`, `logging` decide what is offered on. */
  readonly capabilities: JsonObject
  readonly instructions?: string
  readonly serverInfo?: JsonObject
  /** How it was reached; not part of the revision. */
  readonly protocol?: ProtocolVerdict
  /** Items left out because they broke the protocol, each with its name and reason; not part of the revision. */
  readonly rejected?: readonly { readonly item: string; readonly reason: string }[]
}

/** Which eras an upstream speaks, found by probing, with the date so that it can be asked again. */
export interface ProtocolVerdict {
  readonly eras: readonly Era[]
  readonly version: string
  /** Epoch milliseconds. */
  readonly checkedAt: number
}

export const emptyInterface: Interface = {
  tools: [],
  resources: [],
  resourceTemplates: [],
  prompts: [],
  capabilities: {},
}

/** `iface_` + 12 hex over the content: the same interface has the same revision, whenever and wherever it is read. */
export function interfaceRevision(face: Interface): string {
  const { tools, resources, resourceTemplates, prompts, capabilities, instructions, serverInfo } = face
  const body = canonicalJson({ tools, resources, resourceTemplates, prompts, capabilities, instructions, serverInfo })
  return `iface_${createHash("sha256").update(body).digest("hex").slice(0, 12)}`
}

export interface InterfaceDiff {
  readonly added: readonly string[]
  readonly removed: readonly string[]
  readonly changed: readonly string[]
}

/** What differs, as `tool:name`, `prompt:name`, `resource:uri`, `template:uriTemplate`, each list sorted. */
export function diffInterfaces(before: Interface, after: Interface): InterfaceDiff {
  const old = itemsOf(before)
  const now = itemsOf(after)
  return {
    added: [...now.keys()].filter((key) => !old.has(key)).sort(),
    removed: [...old.keys()].filter((key) => !now.has(key)).sort(),
    changed: [...now.keys()].filter((key) => old.has(key) && old.get(key) !== now.get(key)).sort(),
  }
}

function itemsOf(face: Interface): Map<string, string> {
  const items = new Map<string, string>()
  for (const tool of face.tools) items.set(`tool:${tool.name}`, canonicalJson(tool))
  for (const prompt of face.prompts) items.set(`prompt:${prompt.name}`, canonicalJson(prompt))
  for (const resource of face.resources) items.set(`resource:${resource.uri}`, canonicalJson(resource))
  for (const template of face.resourceTemplates) items.set(`template:${template.uriTemplate}`, canonicalJson(template))
  return items
}
