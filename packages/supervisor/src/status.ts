import type { BackendVitals, ServiceStatus } from "@clarity-runtime/contracts"
import { desiredOf } from "./desired.ts"
import type { Instance } from "./instances.ts"
import type { ServiceState } from "./state.ts"

/** One service for operators, as it is at this moment. `keyed`: instances of callers of their own. */
export function statusOf(state: ServiceState, keyed: number): ServiceStatus {
  const { main, record, view, restartCount } = state
  const { clock } = state.parts
  const dueAt = state.attempt === undefined ? state.dueAt : Infinity
  const monotonic = clock.monotonic()
  const onTheWall = (at: number) => Math.round(clock.now() + (at - monotonic))
  const vitals = main === undefined ? undefined : vitalsOf(main)
  return {
    ...view,
    desired: desiredOf(record),
    uptimeSeconds: main === undefined ? 0 : Math.floor((monotonic - main.openedAt) / 1000),
    restartCount,
    instances: keyed + (main === undefined ? 0 : 1),
    ...(vitals?.pid === undefined ? {} : { pid: vitals.pid }),
    ...(vitals?.rssBytes === undefined ? {} : { rssBytes: vitals.rssBytes }),
    ...(dueAt === Infinity ? {} : { nextAttemptAt: onTheWall(dueAt) }),
    ...(main === undefined ? {} : { lastHeartbeatAt: onTheWall(main.aliveAt) }),
  }
}

/** What an instance tells of itself; nothing of one that just ended. */
export function vitalsOf(instance: Instance): BackendVitals | undefined {
  try {
    return instance.backend.vitals?.()
  } catch {
    return undefined // A program that just ended has no figures; its exit is told by its watch.
  }
}
