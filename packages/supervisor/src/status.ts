import type { BackendVitals, Clock, ServiceRecord, ServiceStatus, ServiceView } from "@clarity-runtime/contracts"
import { desiredOf } from "./desired.ts"
import type { Instance } from "./instances.ts"

/** One service for operators, as it is at this moment. `dueAt`: monotonic time of the next attempt, Infinity for none. */
export function statusOf(
  clock: Clock,
  now: {
    readonly view: ServiceView
    readonly record: ServiceRecord
    readonly main: Instance | undefined
    readonly keyed: number
    readonly restartCount: number
    readonly dueAt: number
  },
): ServiceStatus {
  const { main, dueAt } = now
  const monotonic = clock.monotonic()
  const onTheWall = (at: number) => Math.round(clock.now() + (at - monotonic))
  const vitals = main === undefined ? undefined : vitalsOf(main)
  return {
    ...now.view,
    desired: desiredOf(now.record),
    uptimeSeconds: main === undefined ? 0 : Math.floor((monotonic - main.openedAt) / 1000),
    restartCount: now.restartCount,
    instances: now.keyed + (main === undefined ? 0 : 1),
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
