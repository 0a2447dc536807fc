import type { InterfaceDiff } from "./interface.ts"
import type { BackendSource, ServiceView } from "./source.ts"

/** One service as operators see it. */
export interface ServiceStatus extends ServiceView {
  readonly desired: "running" | "stopped"
  /** Seconds since the running instance became ready; 0 when none runs. */
  readonly uptimeSeconds: number
  readonly restartCount: number
  readonly pid?: number
  readonly rssBytes?: number
  /** Open instances under `spec.isolation`. */
  readonly instances: number
  /** Epoch milliseconds of the next start attempt while backing off. */
  readonly nextAttemptAt?: number
  /** Epoch milliseconds of the last sign of life. */
  readonly lastHeartbeatAt?: number
}

export interface Introspection {
  readonly revision: string
  /** Epoch milliseconds. */
  readonly introspectedAt: number
  readonly diff: InterfaceDiff
}

/** The operator's hand on running services. Each call resolves when the new state is reached or has failed. */
export interface Supervision extends BackendSource {
  status(id: string): ServiceStatus | undefined
  statuses(): readonly ServiceStatus[]
  /** Resolves when running or when the start failed (see the status for which). Throws `conflict` when quarantined. */
  start(id: string): Promise<ServiceStatus>
  stop(id: string): Promise<ServiceStatus>
  restart(id: string): Promise<ServiceStatus>
  unquarantine(id: string): Promise<ServiceStatus>
  /** Asks the running service anew what it offers. Throws `unavailable` when it cannot be asked. */
  introspect(id: string): Promise<Introspection>
}
