import { namespaceOf, reservedNamespaces, shortHash } from "./identity.ts"
import type { ServiceRecord } from "./registry.ts"

/**
 * The namespace of every service, unique among them and never one of the runtime's own. Services choose in order of
 * age (`createdAt`, then id), so a name depends on older services only: registering another never renames one that is
 * there. Whoever finds its name taken or reserved gets a suffix from its id (`fs_3fa09c`). When the holder of a plain
 * name is removed, the next twin in age takes that name.
 */
export function assignNamespaces(
  records: Iterable<Pick<ServiceRecord, "id" | "manifest" | "createdAt">>,
): Map<string, string> {
  const byAge = [...records].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
  const taken = new Set(reservedNamespaces)
  const names = new Map<string, string>()
  for (const { id, manifest } of byAge) {
    const name = firstFree(namespaceOf(manifest), id, taken)
    taken.add(name)
    names.set(id, name)
  }
  return names
}

function firstFree(base: string, id: string, taken: ReadonlySet<string>): string {
  if (!taken.has(base)) return base
  const own = /^svc_([0-9a-f]{12})$/.exec(id)?.[1] ?? shortHash(id)
  for (const suffix of [own.slice(0, 6), own]) if (!taken.has(`${base}_${suffix}`)) return `${base}_${suffix}`
  for (let attempt = 1; ; attempt++) {
    const name = `${base}_${shortHash(`${id}#${attempt}`)}`
    if (!taken.has(name)) return name
  }
}
