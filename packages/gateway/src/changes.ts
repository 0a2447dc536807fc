import {
  createBroadcast,
  type Broadcast,
  type Interface,
  type ServiceView,
  type SourceSnapshot,
} from "@clarity-runtime/contracts"

export type ListKind = "tools" | "prompts" | "resources"

/** Lists that changed, and on which services: an endpoint tells its clients only what concerns it. */
export interface ListChange {
  readonly lists: ReadonlySet<ListKind>
  readonly namespaces: ReadonlySet<string>
}

/** Turns successive snapshots into list changes: what a client would see differently, nothing else. */
export function createListChanges(): {
  compare(before: SourceSnapshot, after: SourceSnapshot): void
  readonly changes: Broadcast<ListChange>
} {
  const changes = createBroadcast<ListChange>(64)
  return {
    changes,
    compare(before, after) {
      const lists = new Set<ListKind>()
      const namespaces = new Set<string>()
      const old = new Map(before.services.map((service) => [service.id, service]))
      for (const service of after.services) {
        note(old.get(service.id), service)
        old.delete(service.id)
      }
      for (const gone of old.values()) note(gone, undefined)
      if (lists.size > 0) changes.publish({ lists, namespaces })

      function note(was: ServiceView | undefined, is: ServiceView | undefined): void {
        if (was === is) return
        const kinds = changedKinds(shown(was), shown(is))
        if (was?.namespace !== is?.namespace && (shown(was) ?? shown(is))) kinds.push("tools", "prompts", "resources")
        for (const kind of kinds) lists.add(kind)
        if (kinds.length > 0) for (const service of [was, is]) if (service) namespaces.add(service.namespace)
      }
    },
  }
}

function shown(service: ServiceView | undefined): Interface | undefined {
  return service?.listed === true ? service.interface : undefined
}

function changedKinds(was: Interface | undefined, is: Interface | undefined): ListKind[] {
  if (was === is) return []
  const kinds: ListKind[] = []
  if (differs(was?.tools, is?.tools)) kinds.push("tools")
  if (differs(was?.prompts, is?.prompts)) kinds.push("prompts")
  if (differs(was?.resources, is?.resources) || differs(was?.resourceTemplates, is?.resourceTemplates))
    kinds.push("resources")
  return kinds
}

function differs(was: readonly unknown[] = [], is: readonly unknown[] = []): boolean {
  return was !== is && (was.length !== is.length || JSON.stringify(was) !== JSON.stringify(is))
}
