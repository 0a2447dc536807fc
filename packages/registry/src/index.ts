export { lowdbStore, type LowdbStoreOptions } from "./lowdb-store.ts"
export { memoryStore } from "./memory-store.ts"
export { createRegistry, type RegistryOptions } from "./registry.ts"
export { type RegistryStore, type StoreContents } from "./store.ts"
