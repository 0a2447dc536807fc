import type { Interface, ServiceRecord } from "@clarity-runtime/contracts"

/** What a store knew when it was opened. */
export interface StoreContents {
  /** 0: nothing was ever saved. */
  readonly generation: number
  /** In order of registration. */
  readonly records: readonly ServiceRecord[]
  /** By revision, without `protocol`; every revision a record points at is here. */
  readonly interfaces: ReadonlyMap<string, Interface>
}

/**
 * Where a registry keeps what it knows. The registry is its only user, calls `open` once and first, and never calls
 * `save` twice at once. Throws ClarityError `storage_error`.
 */
export interface RegistryStore extends AsyncDisposable {
  open(): Promise<StoreContents>
  /** Replaces all records. Resolves when durable; a failed save leaves the records as they were. */
  save(records: readonly ServiceRecord[], generation: number): Promise<void>
  /** Resolves when durable. Called before a record that points there is saved. */
  saveInterface(revision: string, body: Interface): Promise<void>
  /** Forgets all other interfaces. Never throws: what cannot be removed now is removed later. */
  keepInterfaces(revisions: ReadonlySet<string>): Promise<void>
  /** What an operator should know, oldest first. */
  readonly notices: readonly string[]
}
