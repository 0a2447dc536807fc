import { createBroadcast, type Clock, type ServiceView, type SourceSnapshot } from "@clarity-runtime/contracts"

/** The same view object when nothing in it differs, so that readers can tell by identity what changed. */
export function keepView(before: ServiceView | undefined, after: ServiceView): ServiceView {
  if (before === undefined) return after
  const keys = Object.keys(after) as (keyof ServiceView)[]
  if (keys.length !== Object.keys(before).length) return after
  return keys.every((key) => before[key] === after[key]) ? before : after
}

/** Puts views in the order every snapshot has: namespace, then id. */
export function inOrder<T extends { readonly id: string; readonly namespace: string }>(items: Iterable<T>): T[] {
  const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
  return [...items].sort((a, b) => byText(a.namespace, b.namespace) || byText(a.id, b.id))
}

export interface Snapshots extends Disposable {
  current(): SourceSnapshot
  changes(signal: AbortSignal): AsyncIterable<SourceSnapshot>
  /** Something in the views is different; published soon, together with what follows closely. */
  changed(): void
  /** Published now. */
  flush(): void
}

/** Publishes what `views` gives: the first change at once (still after the work that made it), later ones at most every `coalesceMs`. */
export function createSnapshots(parts: {
  clock: Clock
  coalesceMs: number
  views: () => readonly ServiceView[]
}): Snapshots {
  const broadcast = createBroadcast<SourceSnapshot>()
  const closed = new AbortController()
  let snapshot: SourceSnapshot = { generation: 1, services: parts.views() }
  let dirty = false
  let pending = false

  function flush(): void {
    if (!dirty) return
    dirty = false
    const services = parts.views()
    const before = snapshot.services
    if (services.length === before.length && services.every((view, index) => view === before[index])) return
    snapshot = { generation: snapshot.generation + 1, services }
    broadcast.publish(snapshot)
  }

  async function publishSoon(): Promise<void> {
    await Promise.resolve()
    while (dirty && !closed.signal.aborted) {
      flush()
      await parts.clock.sleep(parts.coalesceMs, closed.signal)
    }
    pending = false
  }

  return {
    /** Never behind what the operator was told: pending changes are published by reading, too. */
    current() {
      flush()
      return snapshot
    },
    changes: (signal) => broadcast.subscribe(signal),
    changed() {
      dirty = true
      if (pending || closed.signal.aborted) return
      pending = true
      void publishSoon()
    },
    flush,
    [Symbol.dispose]() {
      flush()
      closed.abort()
      broadcast.close()
    },
  }
}
