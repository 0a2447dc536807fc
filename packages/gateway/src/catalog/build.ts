import {
  isJsonObject,
  type Interface,
  type JsonObject,
  type Prompt,
  type ServiceView,
  type SourceSnapshot,
  type Tool,
} from "@clarity-runtime/contracts"
import { mergeInstructions } from "./instructions.ts"
import { fit, prefixedName } from "./names.ts"
import { exposeItem, labelOf, prefixedUris, sameUris, uriLabel, type UriMap } from "./uris.ts"
import type { Catalog, CatalogView, Entry } from "./view.ts"

/** Builds the catalog of a snapshot. Work on an interface that was seen before is not repeated. */
export function createCatalogBuilder(): (snapshot: SourceSnapshot) => Catalog {
  const exposures = new WeakMap<Interface, Exposure>()

  function exposureOf(service: ServiceView, face: Interface): Exposure {
    const known = exposures.get(face)
    if (known?.namespace === service.namespace) return known
    const made = expose(service.namespace, face)
    exposures.set(face, made)
    return made
  }

  return (snapshot) => {
    const listed = snapshot.services.filter((service) => service.listed)
    let common: CatalogView | undefined
    const own = new Map<string, CatalogView>()
    const byNamespace = new Map(snapshot.services.map((service) => [service.namespace, service]))
    return {
      generation: snapshot.generation,
      get common() {
        return (common ??= commonView(listed, snapshot.services, exposureOf))
      },
      of(namespace) {
        const service = byNamespace.get(namespace)
        if (service === undefined) return undefined
        let view = own.get(namespace)
        if (view === undefined) own.set(namespace, (view = ownView(service)))
        return view
      },
    }
  }
}

/** One interface as it appears on the common endpoint, names still without regard to other services. */
interface Exposure {
  readonly namespace: string
  readonly uris: UriMap
  readonly tools: readonly Tool[]
  readonly prompts: readonly Prompt[]
  readonly resources: Interface["resources"]
  readonly resourceTemplates: Interface["resourceTemplates"]
}

function expose(namespace: string, face: Interface): Exposure {
  const uris = prefixedUris(namespace)
  return {
    namespace,
    uris,
    tools: face.tools.map((tool) => ({ ...exposeItem(tool, uris), name: prefixedName(namespace, tool.name) })),
    prompts: face.prompts.map((prompt) => ({ ...prompt, name: prefixedName(namespace, prompt.name) })),
    resources: face.resources.map((resource) => exposeItem(resource, uris)),
    resourceTemplates: face.resourceTemplates.map((template) => exposeItem(template, uris)),
  }
}

function commonView(
  listed: readonly ServiceView[],
  all: readonly ServiceView[],
  exposureOf: (service: ServiceView, face: Interface) => Exposure,
): CatalogView {
  const tools: Entry<Tool>[] = []
  const prompts: Entry<Prompt>[] = []
  const resources: CatalogView["resources"][number][] = []
  const templates: CatalogView["resourceTemplates"][number][] = []
  for (const service of listed) {
    const face = service.interface
    if (face === undefined) continue
    const exposed = exposureOf(service, face)
    exposed.tools.forEach((item, i) => tools.push({ item, service, name: (face.tools[i] as Tool).name }))
    exposed.prompts.forEach((item, i) => prompts.push({ item, service, name: (face.prompts[i] as Prompt).name }))
    exposed.resources.forEach((item, i) => resources.push({ item, service, name: face.resources[i]?.uri ?? "" }))
    exposed.resourceTemplates.forEach((item, i) =>
      templates.push({ item, service, name: face.resourceTemplates[i]?.uriTemplate ?? "" }),
    )
  }
  const byLabel = new Map(all.map((service) => [uriLabel(service.namespace), service]))
  const maps = new Map(all.map((service) => [service.id, prefixedUris(service.namespace)]))
  const sections = listed.map((service) => ({ heading: service.namespace, text: service.interface?.instructions }))
  return viewOf({
    namespace: undefined,
    services: listed,
    tools: withBareNames(tools),
    prompts: withBareNames(prompts),
    resources,
    resourceTemplates: templates,
    capabilities: unionCapabilities(listed),
    instructions: mergeInstructions(sections),
    urisOf: (service) => maps.get(service.id) ?? sameUris,
    resource(uri) {
      const service = byLabel.get(labelOf(uri) ?? "")
      const own = service && maps.get(service.id)?.in(uri)
      return service === undefined || own === undefined ? undefined : { service, uri: own }
    },
  })
}

function ownView(service: ServiceView): CatalogView {
  const face = service.interface
  const shown = service.listed && face !== undefined
  const entries = <T extends JsonObject>(items: readonly T[], key: string): Entry<T>[] =>
    shown ? items.map((item) => ({ item, service, name: String(item[key]) })) : []
  return viewOf({
    namespace: service.namespace,
    services: [service],
    tools: entries(face?.tools ?? [], "name"),
    prompts: entries(face?.prompts ?? [], "name"),
    resources: entries(face?.resources ?? [], "uri"),
    resourceTemplates: entries(face?.resourceTemplates ?? [], "uriTemplate"),
    capabilities: unionCapabilities(shown ? [service] : []),
    instructions: face?.instructions,
    urisOf: () => sameUris,
    resource: (uri) => ({ service, uri }),
  })
}

function viewOf(parts: Omit<CatalogView, "tool" | "prompt">): CatalogView {
  const toolIndex = indexByName(parts.tools)
  const promptIndex = indexByName(parts.prompts)
  return { ...parts, tool: (name) => toolIndex.get(name), prompt: (name) => promptIndex.get(name) }
}

function indexByName<T extends JsonObject & { name: string }>(entries: readonly Entry<T>[]): Map<string, Entry<T>> {
  const index = new Map<string, Entry<T>>()
  for (const entry of entries) if (!index.has(entry.item.name)) index.set(entry.item.name, entry)
  return index
}

/** Services with `prefix: on-collision` keep their own names as long as nobody else on the endpoint has that name. */
function withBareNames<T extends JsonObject & { name: string }>(entries: readonly Entry<T>[]): readonly Entry<T>[] {
  const bare = (entry: Entry<T>) => entry.service.manifest.spec.prefix === "on-collision"
  if (!entries.some(bare)) return entries
  const taken = new Map<string, number>()
  const count = (name: string) => taken.set(name, (taken.get(name) ?? 0) + 1)
  for (const entry of entries) {
    count(entry.item.name)
    if (bare(entry)) count(fit(entry.name))
  }
  return entries.map((entry) => {
    const own = fit(entry.name)
    return bare(entry) && taken.get(own) === 1 ? { ...entry, item: { ...entry.item, name: own } } : entry
  })
}

/** What the endpoint can do: whatever one of its services can. List changes the gateway announces itself. */
function unionCapabilities(services: readonly ServiceView[]): JsonObject {
  const declared = services.map((service) => service.interface?.capabilities ?? {})
  const any = (key: string) => declared.some((capabilities) => capabilities[key] !== undefined)
  const union: JsonObject = { tools: { listChanged: true } }
  if (any("prompts")) union["prompts"] = { listChanged: true }
  if (any("resources")) {
    const subscribe = declared.some(({ resources }) => isJsonObject(resources) && resources["subscribe"] === true)
    union["resources"] = subscribe ? { subscribe: true, listChanged: true } : { listChanged: true }
  }
  if (any("completions")) union["completions"] = {}
  if (any("logging")) union["logging"] = {}
  const extensions = Object.assign(
    {},
    ...declared.map(({ extensions }) => (isJsonObject(extensions) ? extensions : {})),
  )
  if (services.length === 1 && Object.keys(extensions).length > 0) union["extensions"] = extensions
  return union
}
