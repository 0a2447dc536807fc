import type { Interface, ProtocolVerdict } from "./interface.ts"
import type { ServiceManifest } from "./manifest.ts"

/** What is remembered of one service: intent, never health. */
export interface ServiceRecord {
  readonly id: string
  readonly manifest: ServiceManifest
  /** Grows with every change of what is wanted (not when an interface is stored); give it back to change only what you have seen. */
  readonly revision: number
  /** What an operator last asked for, over `spec.enabled`/`autostart`; absent: as the manifest says. */
  readonly desired?: "running" | "stopped"
  /** Set when the service crashed too often; only a person clears it. */
  readonly quarantine?: { readonly reason: string; /** epoch ms */ readonly since: number }
  /** The last interface seen, stored under its revision. */
  readonly interface?: {
    readonly revision: string
    /** epoch ms */
    readonly introspectedAt: number
    /** How it was reached: of this service alone, where equal interfaces share one revision. */
    readonly protocol?: ProtocolVerdict
  }
  /** Epoch milliseconds. */
  readonly createdAt: number
  readonly updatedAt: number
}

export interface RegistrySnapshot {
  readonly generation: number
  /** By id, in order of registration. */
  readonly services: ReadonlyMap<string, ServiceRecord>
}

/** The part of a record that changes without its manifest. `null` clears. */
export interface RecordPatch {
  readonly desired?: "running" | "stopped" | null
  readonly quarantine?: { readonly reason: string; readonly since: number } | null
}

/**
 * Knows which services exist. Every change is acknowledged (its promise resolves) only when it is durable in the
 * store, and a failed change leaves everything as it was (ClarityError `storage_error`). `conflict` on a stale revision.
 */
export interface Registry extends AsyncDisposable {
  snapshot(): RegistrySnapshot
  changes(signal: AbortSignal): AsyncIterable<RegistrySnapshot>
  /** Adds or replaces; the id is derived from the origin unless the manifest of an existing record carries it. */
  put(manifest: ServiceManifest, revision?: number): Promise<ServiceRecord>
  patch(id: string, patch: RecordPatch, revision?: number): Promise<ServiceRecord>
  /** Resolves to the removed record. Throws `not_found`. */
  remove(id: string, revision?: number): Promise<ServiceRecord>
  /** Stores an interface under its content's revision and points the record at it. */
  storeInterface(id: string, face: Interface, introspectedAt: number): Promise<string>
  /** The stored interfaces of all services by service id, read once at start; synchronous and in memory afterwards. */
  interfaceOf(id: string): Interface | undefined
  /** What an operator should know of the store (damaged files, records that could not be read), oldest first. */
  readonly notices?: readonly string[]
}
