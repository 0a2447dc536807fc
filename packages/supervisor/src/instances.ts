import type { AcquireContext, Backend, Clock, Lease, ServiceManifest, ServiceLog } from "@clarity-runtime/contracts"

/** Which instance a call gets: `place` is unique inside the service, `isolationKey` is what the backend is told. */
export interface InstanceKey {
  readonly place: string
  readonly isolationKey: string
}

export const sharedKey: InstanceKey = { place: "shared", isolationKey: "shared" }

/** The key of `spec.isolation`. A session's instance also belongs to its principal; without a session, to the principal alone. */
export function keyOf(
  isolation: ServiceManifest["spec"]["isolation"],
  context: Pick<AcquireContext, "principal" | "session">,
): InstanceKey {
  const { principal, session } = context
  if (isolation === "shared") return sharedKey
  if (isolation === "principal" || session === undefined)
    return { place: `principal ${principal.id}`, isolationKey: principal.id }
  return { place: `session ${JSON.stringify([principal.id, session])}`, isolationKey: session }
}

/**
 * One open backend and the leases on it. Retired once, it gives no more leases and is disposed when the last one ends
 * or its drain time is over, whichever is first.
 */
export interface Instance {
  readonly backend: Backend
  readonly key: InstanceKey
  /** Monotonic milliseconds. */
  readonly openedAt: number
  readonly leases: number
  /** Monotonic time of the last begin or end of a lease. */
  readonly usedAt: number
  /** Monotonic time of the last sign of life. */
  readonly aliveAt: number
  /** May be leased: neither retired nor found broken. */
  readonly usable: boolean
  /** Aborts when it is retired. */
  readonly over: AbortSignal
  /** Resolves when it is disposed, or when disposing took longer than `disposeMs`. */
  readonly gone: Promise<void>
  lease(): Lease
  alive(): void
  /** Calling again may shorten the drain time, never lengthen it. */
  retire(drainMs: number): void
}

export interface InstanceParts {
  readonly clock: Clock
  readonly log: ServiceLog
  readonly disposeMs: number
  /** A call found it useless; told once, and not after it was retired. */
  readonly broken: (instance: Instance) => void
}

export function createInstance(backend: Backend, key: InstanceKey, parts: InstanceParts): Instance {
  const { clock } = parts
  const over = new AbortController()
  const disposed = new AbortController()
  const gone = Promise.withResolvers<void>()
  const openedAt = clock.monotonic()
  let leases = 0
  let usedAt = openedAt
  let aliveAt = openedAt
  let broken = false

  async function dispose(): Promise<void> {
    if (disposed.signal.aborted) return
    disposed.abort()
    const patience = new AbortController()
    const closing = Promise.resolve()
      .then(() => backend[Symbol.asyncDispose]())
      .catch((error: unknown) => parts.log.write("runtime", `closing it failed: ${String(error).slice(0, 500)}`))
    const inTime = await Promise.race([closing.then(() => true), clock.sleep(parts.disposeMs, patience.signal)])
    patience.abort()
    if (inTime !== true) parts.log.write("runtime", `closing it takes longer than ${parts.disposeMs} ms`)
    gone.resolve()
  }

  const instance: Instance = {
    backend,
    key,
    openedAt,
    over: over.signal,
    gone: gone.promise,
    get leases() {
      return leases
    },
    get usedAt() {
      return usedAt
    },
    get aliveAt() {
      return aliveAt
    },
    get usable() {
      return !broken && !over.signal.aborted
    },
    alive() {
      aliveAt = clock.monotonic()
    },
    lease() {
      leases += 1
      usedAt = clock.monotonic()
      let held = true
      return {
        backend,
        release(outcome) {
          if (!held) return
          held = false
          leases -= 1
          usedAt = clock.monotonic()
          if (outcome === "ok") aliveAt = usedAt
          if (outcome === "broken" && instance.usable) {
            broken = true
            parts.broken(instance)
          }
          if (leases === 0 && over.signal.aborted) void dispose()
        },
      }
    },
    retire(drainMs) {
      over.abort()
      if (leases === 0 || drainMs <= 0) void dispose()
      else void clock.sleep(drainMs, disposed.signal).then(dispose)
    },
  }
  return instance
}
