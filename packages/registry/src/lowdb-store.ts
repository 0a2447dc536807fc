import { join } from "node:path"
import { systemClock, type Clock, type Interface, type ServiceRecord } from "@clarity-runtime/contracts"
import { nodeFileSystem, sealedFile, type FileSystem, type SealedContent } from "@clarity-runtime/state"
import { Low, type Adapter } from "lowdb"
import { interfaceFiles } from "./interface-files.ts"
import { decodeRegistry, encodeRegistry, unsealedKeys, type RegistryFile } from "./registry-file.ts"
import type { RegistryStore } from "./store.ts"

export interface LowdbStoreOptions {
  /** Holds `registry.json` and `interfaces/`; made (0700) at the first save. Its owner holds the workspace lock. */
  readonly dir: string
  readonly fs?: FileSystem
  readonly clock?: Pick<Clock, "now">
}

/**
 * The default store: lowdb over files that are never half written. `<dir>/registry.json` holds what is wanted,
 * `<dir>/interfaces/<revision>.json` what the services last offered. A 0.9 file is read as it is and rewritten with
 * the first change, its original kept as `registry.json.v0.9`. What is damaged is replaced by its last good version
 * and kept aside; what cannot be read at all stops the opening (`storage_error`), it is never taken for empty.
 */
export function lowdbStore(options: LowdbStoreOptions): RegistryStore {
  const { dir, fs = nodeFileSystem, clock = systemClock } = options
  const file = sealedFile({
    path: join(dir, "registry.json"),
    version: 1,
    unsealed: { keys: unsealedKeys, backup: ".v0.9" },
    fs,
    clock,
  })
  const faces = interfaceFiles(join(dir, "interfaces"), fs)
  const notices: string[] = []
  let unreadable: readonly unknown[] = []
  /** Bodies that only a 0.9 file has, until the first save. */
  let unsaved: ReadonlyMap<string, Interface> = new Map()

  const adapter: Adapter<SealedContent> = {
    read: async () => (await file.read((content) => void decodeRegistry(content, clock.now()))) ?? null,
    write: ({ body, generation }) => file.write(body, generation),
  }
  const low = new Low<SealedContent>(adapter, { body: { services: [] }, generation: 0, sealed: true })

  return {
    get notices() {
      return [...file.notices, ...notices]
    },
    async open() {
      await low.read()
      const found: RegistryFile = decodeRegistry(low.data, clock.now())
      unreadable = found.unreadable
      unsaved = found.interfaces
      notices.push(...found.notices)
      const pointers = found.records.flatMap((record) => (record.interface ? [record.interface.revision] : []))
      const interfaces = new Map([...(await faces.load(pointers)), ...found.interfaces])
      const records = found.records.map((record): ServiceRecord => {
        if (record.interface === undefined || interfaces.has(record.interface.revision)) return record
        notices.push(`registry: the stored interface of ${record.id} is missing or damaged; it will be asked for again`)
        const { interface: _lost, ...rest } = record
        return rest
      })
      await faces.keep(interfaceRevisionsIn(records))
      return { generation: low.data.generation, records, interfaces }
    },
    async save(records, generation) {
      const wanted = interfaceRevisionsIn(records)
      for (const [revision, body] of unsaved) if (wanted.has(revision)) await faces.save(revision, body)
      const before = low.data
      low.data = { body: encodeRegistry(records, unreadable, clock.now()), generation, sealed: true }
      try {
        await low.write()
      } catch (error) {
        low.data = before
        throw error
      }
      unsaved = new Map()
    },
    saveInterface: (revision, body) => faces.save(revision, body),
    keepInterfaces: (revisions) => faces.keep(revisions),
    [Symbol.asyncDispose]: async () => undefined,
  }
}

function interfaceRevisionsIn(records: Iterable<Pick<ServiceRecord, "interface">>): Set<string> {
  return new Set([...records].flatMap((record) => (record.interface ? [record.interface.revision] : [])))
}
