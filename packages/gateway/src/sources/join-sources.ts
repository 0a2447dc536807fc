import { ClarityError, createBroadcast, type BackendSource, type SourceSnapshot } from "@clarity-runtime/contracts"

/** Several sources as one; their service ids and namespaces must not meet. Services come in the order of their namespaces. */
export function joinSources(sources: readonly BackendSource[]): BackendSource {
  let seen: readonly SourceSnapshot[] = []
  let joined: SourceSnapshot = { generation: 0, services: [] }
  let owners: ReadonlyMap<string, BackendSource> = new Map()

  /** Joins anew when one of the sources has published since. */
  function current(): SourceSnapshot {
    const now = sources.map((source) => source.snapshot())
    if (now.every((snapshot, i) => snapshot === seen[i])) return joined
    seen = now
    joined = {
      generation: joined.generation + 1,
      services: now
        .flatMap((snapshot) => snapshot.services)
        .toSorted((a, b) => compare(a.namespace, b.namespace) || compare(a.id, b.id)),
    }
    owners = new Map(now.flatMap(({ services }, i) => services.map(({ id }) => [id, sources[i] as BackendSource])))
    return joined
  }

  return {
    snapshot: current,
    async *changes(signal) {
      const changed = createBroadcast<true>()
      const ending = sources.map(async (source) => {
        for await (const _ of source.changes(signal)) changed.publish(true)
      })
      void Promise.allSettled(ending).then(() => changed.close())
      for await (const _ of changed.subscribe(signal)) yield current()
    },
    acquire(id, context) {
      const owner = owners.get(id) ?? (current(), owners.get(id))
      return owner?.acquire(id, context) ?? Promise.reject(new ClarityError("not_found", `no service ${id}`))
    },
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
