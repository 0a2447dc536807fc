import {
  canonicalJson,
  ClarityError,
  createBroadcast,
  interfaceRevision,
  parseManifest,
  systemClock,
  type Clock,
  type RecordPatch,
  type Registry,
  type RegistrySnapshot,
  type ServiceManifest,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { createCommitQueue } from "@clarity-runtime/state"
import { createInterfaceShelf } from "./interface-shelf.ts"
import { identityOf } from "./service-identity.ts"
import type { RegistryStore } from "./store.ts"

export interface RegistryOptions {
  /** Owned by the registry from here on, which disposes it. */
  readonly store: RegistryStore
  readonly clock?: Pick<Clock, "now">
}

type Services = ReadonlyMap<string, ServiceRecord>

/**
 * A registry over a store. Rejects with ClarityError `storage_error` when the store holds data it cannot read.
 *
 * A record's `revision` and `updatedAt` follow intent: manifest, desired state, quarantine. A stored interface is an
 * observation; it publishes a new snapshot and leaves the revision, so that introspecting never makes an operator's
 * edit stale. A change that changes nothing writes and publishes nothing. For `put`, revision 0 means: only if new.
 */
export async function createRegistry(
  options: RegistryOptions,
): Promise<Registry & { readonly notices: readonly string[] }> {
  const { store, clock = systemClock } = options
  const contents = await store.open()
  const changes = createBroadcast<RegistrySnapshot>()
  const shelf = createInterfaceShelf(store, contents.interfaces)
  let snapshot: RegistrySnapshot = {
    generation: contents.generation,
    services: new Map(contents.records.map((record) => [record.id, deepFreeze(record)])),
  }

  const queue = createCommitQueue<Services>(snapshot.services, {
    persist: (services) => store.save([...services.values()], snapshot.generation + 1),
    committed(services) {
      snapshot = { generation: snapshot.generation + 1, services }
      shelf.tidy(services.values())
      changes.publish(snapshot)
    },
  })

  /** Runs one change of one record, and answers with what it became (or was, when removed). */
  async function change(
    edit: (services: Services) => { id: string; next: ServiceRecord | undefined; answer?: ServiceRecord },
  ): Promise<ServiceRecord> {
    let answer: ServiceRecord | undefined
    await queue.update((services) => {
      const { id, next, answer: other } = edit(services)
      answer = next ?? other
      if (services.get(id) === next) return services
      const changed = new Map(services)
      if (next === undefined) changed.delete(id)
      else changed.set(id, next)
      return changed
    })
    if (answer === undefined) throw new ClarityError("internal", "a change of the registry had no answer")
    return answer
  }

  return {
    get notices() {
      return store.notices
    },
    snapshot: () => snapshot,
    changes: (signal) => changes.subscribe(signal),
    async put(manifest, revision) {
      const own = parseManifest(manifest)
      return change((services) => {
        const id = identityOf(own, services)
        const record = services.get(id)
        checkRevision(id, record, revision)
        return { id, next: putInto(services, record, id, own, clock.now()) }
      })
    },
    patch: (id, patch, revision) =>
      change((services) => {
        const record = existing(services, id)
        checkRevision(id, record, revision)
        return { id, next: patched(record, patch, clock.now()) }
      }),
    remove: (id, revision) =>
      change((services) => {
        const record = existing(services, id)
        checkRevision(id, record, revision)
        return { id, next: undefined, answer: record }
      }),
    async storeInterface(id, face, introspectedAt) {
      existing(queue.value, id)
      const { protocol, ...body } = face
      const revision = interfaceRevision(face)
      const pointer = { revision, introspectedAt: Math.trunc(introspectedAt), ...(protocol ? { protocol } : {}) }
      await shelf.keep(revision, body, () =>
        change((services) => {
          const record = existing(services, id)
          const same = canonicalJson(record.interface ?? null) === canonicalJson(pointer)
          return { id, next: same ? record : deepFreeze({ ...record, interface: pointer }) }
        }),
      )
      return revision
    },
    interfaceOf: (id) => shelf.of(snapshot.services.get(id)?.interface),
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await shelf[Symbol.asyncDispose]()
      changes.close()
      await store[Symbol.asyncDispose]()
    },
  }
}

function existing(services: Services, id: string): ServiceRecord {
  const record = services.get(id)
  if (record === undefined) throw new ClarityError("not_found", `no service ${id}`, { data: { service: id } })
  return record
}

function checkRevision(id: string, record: ServiceRecord | undefined, revision: number | undefined): void {
  const current = record?.revision ?? 0
  if (revision === undefined || revision === current) return
  const state = record === undefined ? "is not registered" : `is at revision ${current}`
  throw new ClarityError("conflict", `service ${id} ${state}, not at ${revision}: it changed meanwhile`, {
    data: { service: id, reason: "stale_revision", revision: current },
  })
}

function putInto(
  services: Services,
  record: ServiceRecord | undefined,
  id: string,
  given: ServiceManifest,
  now: number,
): ServiceRecord {
  const manifest = { ...given, metadata: { ...given.metadata, serviceId: id } }
  if (record === undefined) {
    // Ages decide about names (assignNamespaces), so no two are alike, whatever the wall clock does.
    const createdAt = Math.max(now, ...[...services.values()].map((other) => other.createdAt + 1))
    return deepFreeze({ id, manifest, revision: 1, createdAt, updatedAt: createdAt })
  }
  if (intentOf(record.manifest) === intentOf(manifest)) return record
  return deepFreeze({ ...record, manifest, revision: record.revision + 1, updatedAt: now })
}

/** What a manifest wants, without the time its writer wrote it. */
function intentOf(manifest: ServiceManifest): string {
  const { createdAt: _created, updatedAt: _updated, ...metadata } = manifest.metadata
  return canonicalJson({ ...manifest, metadata })
}

function patched(record: ServiceRecord, patch: RecordPatch, now: number): ServiceRecord {
  const { desired, quarantine, ...rest } = record
  const wanted = patch.desired === undefined ? desired : (patch.desired ?? undefined)
  const held = patch.quarantine === undefined ? quarantine : (patch.quarantine ?? undefined)
  if (wanted === desired && canonicalJson(held ?? null) === canonicalJson(quarantine ?? null)) return record
  return deepFreeze({
    ...rest,
    ...(wanted === undefined ? {} : { desired: wanted }),
    ...(held === undefined ? {} : { quarantine: { reason: held.reason, since: held.since } }),
    revision: record.revision + 1,
    updatedAt: now,
  })
}

/** Records are handed to everybody: nobody may change one by accident. */
function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value))
    if (typeof inner === "object" && inner !== null && !Object.isFrozen(inner)) deepFreeze(inner)
  return Object.freeze(value)
}
