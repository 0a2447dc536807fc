import { ClarityError, createBroadcast, type BackendSource, type SourceSnapshot } from "@clarity-runtime/contracts"

/** Several sources as one; their service ids and namespaces must not meet. Services stay in the order of the sources. */
export function joinSources(sources: readonly BackendSource[]): BackendSource {
  let generation = 0
  const join = (): SourceSnapshot => ({
    generation: ++generation,
    services: sources
      .flatMap((source) => source.snapshot().services)
      .toSorted((a, b) => (a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.id < b.id ? -1 : 1)),
  })
  let seen: readonly SourceSnapshot[] = []
  let joined: SourceSnapshot | undefined

  return {
    snapshot() {
      const now = sources.map((source) => source.snapshot())
      if (joined === undefined || now.some((snapshot, i) => snapshot !== seen[i])) {
        joined = join()
        seen = now
      }
      return joined
    },
    async *changes(signal) {
      const changed = createBroadcast<true>()
      const readers = sources.map(async (source) => {
        for await (const _ of source.changes(signal)) changed.publish(true)
      })
      void Promise.all(readers).finally(() => changed.close())
      for await (const _ of changed.subscribe(signal)) yield this.snapshot()
    },
    async acquire(id, context) {
      const source = sources.find((candidate) => candidate.snapshot().services.some((service) => service.id === id))
      if (source === undefined) throw new ClarityError("not_found", `no service ${id}`)
      return source.acquire(id, context)
    },
  }
}
