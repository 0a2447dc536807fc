import type { Interface, ServiceRecord } from "@clarity-runtime/contracts"
import type { RegistryStore } from "./store.ts"

/** Keeps everything as long as the store itself is kept: a second registry opened on it finds what the first saved. */
export function memoryStore(): RegistryStore {
  let records: readonly ServiceRecord[] = []
  let generation = 0
  const interfaces = new Map<string, Interface>()
  return {
    notices: [],
    open: async () => ({ generation, records, interfaces: new Map(interfaces) }),
    async save(next, number) {
      records = next
      generation = number
    },
    async saveInterface(revision, body) {
      interfaces.set(revision, body)
    },
    async keepInterfaces(revisions) {
      for (const revision of interfaces.keys()) if (!revisions.has(revision)) interfaces.delete(revision)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}
