import type { Backend, ServiceDefinition } from "./backend.ts"
import type { Interface } from "./interface.ts"
import type { ClientProfile } from "./request.ts"
import type { Principal } from "./principal.ts"

export const lifecycles = [
  "REGISTERED",
  "STARTING",
  "RUNNING",
  "STOPPING",
  "STOPPED",
  "CRASHED",
  "QUARANTINED",
] as const
export type Lifecycle = (typeof lifecycles)[number]
export const healths = ["UNKNOWN", "HEALTHY", "DEGRADED", "TIMEOUT", "UNAUTHORIZED", "UNREACHABLE"] as const
export type Health = (typeof healths)[number]

/** One service in a snapshot: who it is, how it is, what it offers. */
export interface ServiceView extends ServiceDefinition {
  readonly lifecycle: Lifecycle
  readonly health: Health
  /** Why it is not running and healthy, in words for an operator; and what to do about it. */
  readonly reason?: string
  readonly hint?: string
  /** Last known interface: of the running service, or the stored one while it is away. */
  readonly interface?: Interface
  readonly revision?: string
  /** Epoch milliseconds. */
  readonly introspectedAt?: number
  /** The interface is the stored one, not confirmed by a running service. */
  readonly stale: boolean
  /** In lists. A stopped or quarantined service is not listed; one that is coming up or away is. */
  readonly listed: boolean
}

/** All services at one moment, in a stable order (namespace, then id). Immutable. */
export interface SourceSnapshot {
  /** Grows by one with every published snapshot. */
  readonly generation: number
  readonly services: readonly ServiceView[]
}

/** Where the gateway gets its backends: a supervisor, or anything simpler that keeps this promise. */
export interface BackendSource {
  snapshot(): SourceSnapshot
  /** Every later snapshot; a slow reader gets the newest only. Ends when the signal aborts. */
  changes(signal: AbortSignal): AsyncIterable<SourceSnapshot>
  /**
   * A backend of that service for one call, opened if need be; waits for this service only, and no longer than the
   * signal allows. Throws ClarityError (`unavailable` with the service's state and reason, `not_found`).
   */
  acquire(serviceId: string, context: AcquireContext): Promise<Lease>
}

/** What decides which instance of a service a call gets. */
export interface AcquireContext {
  readonly principal: Principal
  readonly client: ClientProfile
  readonly session?: string | undefined
  readonly signal: AbortSignal
}

/** The right to use a backend; it stays open until the last lease on it is disposed. Disposing twice does nothing. */
export interface Lease {
  readonly backend: Backend
  /**
   * `ok`: the upstream answered, which is a sign of life. `broken`: it failed in a way that makes this instance useless
   * (it died, it lost its session): replace it.
   */
  release(outcome?: "ok" | "broken"): void
}
