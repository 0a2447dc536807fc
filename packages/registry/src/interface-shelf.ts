import type { Interface, ServiceRecord } from "@clarity-runtime/contracts"
import type { RegistryStore } from "./store.ts"

type Pointer = NonNullable<ServiceRecord["interface"]>

/** The bodies of interfaces by revision, in memory and in the store; those nobody points at are removed. */
export interface InterfaceShelf extends AsyncDisposable {
  of(pointer: Pointer | undefined): Interface | undefined
  /** Makes the body durable, then runs `point`; the body is safe from tidying until that is done. */
  keep(revision: string, body: Interface, point: () => Promise<unknown>): Promise<void>
  /** Removes in the background what none of these records points at. */
  tidy(records: Iterable<ServiceRecord>): void
}

export function createInterfaceShelf(store: RegistryStore, stored: ReadonlyMap<string, Interface>): InterfaceShelf {
  const bodies = new Map(stored)
  const whole = new WeakMap<Pointer, Interface>()
  /** Revisions being stored, with how many are at it. */
  const pinned = new Map<string, number>()
  let tidying: Promise<void> = Promise.resolve()

  function unpin(revision: string): void {
    const left = (pinned.get(revision) ?? 1) - 1
    if (left > 0) pinned.set(revision, left)
    else pinned.delete(revision)
  }

  return {
    of(pointer) {
      if (pointer === undefined) return undefined
      const known = whole.get(pointer)
      const body = bodies.get(pointer.revision)
      if (known !== undefined || body === undefined) return known
      const face = pointer.protocol === undefined ? body : { ...body, protocol: pointer.protocol }
      whole.set(pointer, face)
      return face
    },
    async keep(revision, body, point) {
      pinned.set(revision, (pinned.get(revision) ?? 0) + 1)
      try {
        await tidying
        const known = bodies.get(revision)
        if (known === undefined || JSON.stringify(known.rejected) !== JSON.stringify(body.rejected)) {
          await store.saveInterface(revision, body)
          bodies.set(revision, body)
        }
        await point()
      } finally {
        unpin(revision)
      }
    },
    tidy(records) {
      const wanted = new Set<string>(pinned.keys())
      for (const record of records) if (record.interface) wanted.add(record.interface.revision)
      const idle = [...bodies.keys()].filter((revision) => !wanted.has(revision))
      if (idle.length === 0) return
      for (const revision of idle) bodies.delete(revision)
      tidying = tidying.then(() => store.keepInterfaces(new Set([...bodies.keys(), ...pinned.keys()])))
    },
    async [Symbol.asyncDispose]() {
      await tidying
    },
  }
}
