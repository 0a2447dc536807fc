import {
  assignNamespaces,
  ClarityError,
  systemClock,
  type BackendFactory,
  type Clock,
  type Credentials,
  type Registry,
  type RegistrySnapshot,
  type ServiceRecord,
  type ServiceStatus,
  type Supervision,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { desiredOf } from "./desired.ts"
import { createForeignNames } from "./foreign-names.ts"
import { factoriesByType } from "./opening.ts"
import { defaultBounds, type Bounds, type SupervisorOptions } from "./options.ts"
import { overBudget } from "./recycle.ts"
import { ServiceLoop } from "./service-loop.ts"
import { createSnapshots, inOrder } from "./snapshot.ts"
import { createStartGate } from "./start-gate.ts"
import type { SharedParts } from "./state.ts"

export interface SupervisorParts {
  readonly registry: Registry
  /** One for each type of origin that can be opened here. */
  readonly factories: readonly BackendFactory[]
  readonly telemetry: Telemetry
  readonly credentials: Credentials
  readonly clock?: Clock
  /** In [0, 1); varies back-off and probes. */
  readonly random?: () => number
  readonly options?: SupervisorOptions
}

/**
 * Keeps what runs equal to what the registry wants, from the moment of this call until it is disposed. Snapshots are there
 * at once, from the stored interfaces. The registry, the factories and what they use stay the caller's to dispose, after this.
 */
export function createSupervisor(parts: SupervisorParts): Supervision & AsyncDisposable {
  const { registry, telemetry, credentials, clock = systemClock, random = Math.random } = parts
  const bounds: Bounds = { ...defaultBounds, ...parts.options }
  const over = new AbortController()
  const loops = new Map<string, ServiceLoop>()
  /** Loops that are not over, those of removed services included. */
  const living = new Set<ServiceLoop>()
  let ordered: readonly ServiceLoop[] = []
  let seen: RegistrySnapshot | undefined
  let names: ReadonlyMap<string, string> = new Map()
  let disposing: Promise<void> | undefined

  const snapshots = createSnapshots({
    clock,
    coalesceMs: bounds.coalesceMs,
    views: () => ordered.map((loop) => loop.state.view),
  })
  const shared: SharedParts = {
    registry,
    factories: factoriesByType(parts.factories),
    telemetry,
    credentials,
    clock,
    random,
    bounds,
    gate: createStartGate({ clock, width: bounds.startsAtOnce, holdMs: bounds.startHoldMs }),
    changed: () => snapshots.changed(),
  }

  function record(kind: string, message: string, serviceId: string): void {
    telemetry.record({ kind, level: "info", message, serviceId })
  }

  function arrive(id: string, definition: ServiceRecord, namespace: string): void {
    const leaving = seen === undefined ? [] : [...living].filter((loop) => loop.state.id === id)
    const after = Promise.all(leaving.map((loop) => loop.quiet())).then(() => undefined)
    const loop = new ServiceLoop(shared, definition, namespace, after)
    loops.set(id, loop)
    living.add(loop)
    void loop.ended.then(() => living.delete(loop))
  }

  /** Takes over what the registry says now; calling it again changes nothing. */
  function follow(): void {
    const now = registry.snapshot()
    if (now === seen || over.signal.aborted) return
    const before = seen
    seen = now
    if (sameManifests(before, now)) {
      for (const [id, definition] of now.services)
        if (before?.services.get(id) !== definition) loops.get(id)?.update(definition, names.get(id) ?? id)
      return
    }
    names = assignNamespaces(now.services.values())
    for (const [id, loop] of loops) {
      if (now.services.has(id)) continue
      loops.delete(id)
      record("service.removed", "removed", id)
      void loop.close(bounds.drainMs)
    }
    for (const [id, definition] of now.services) {
      const namespace = names.get(id) ?? id
      const loop = loops.get(id)
      if (loop === undefined) {
        if (before !== undefined) record("service.manifest_applied", "registered", id)
        arrive(id, definition, namespace)
      } else if (before?.services.get(id) !== definition || loop.state.namespace !== namespace)
        loop.update(definition, namespace)
    }
    ordered = inOrder([...loops.values()].map((loop) => loop.state)).flatMap(({ id }) => loops.get(id) ?? [])
    snapshots.changed()
  }

  async function followChanges(): Promise<void> {
    while (!over.signal.aborted) {
      try {
        // Listening begins before looking, so that nothing falls between.
        const changes = registry.changes(over.signal)[Symbol.asyncIterator]()
        let next = changes.next()
        follow()
        while ((await next).done !== true) {
          follow()
          next = changes.next()
        }
        if (over.signal.aborted) return
      } catch (error) {
        const message = "following the registry failed; it is taken up again"
        telemetry.record({ kind: "supervisor.registry_lost", level: "error", message })
        telemetry.logOf("supervisor").write("runtime", `${message}: ${String(error).slice(0, 500)}`)
      }
      await clock.sleep(1_000, over.signal)
    }
  }

  function loopOf(id: string): ServiceLoop {
    follow()
    const loop = loops.get(id)
    if (loop === undefined) throw unknownService(id)
    return loop
  }

  /** Wishes to start what must not be started are told, not kept for later. */
  function refuseHindered(loop: ServiceLoop): void {
    const { wanted, namespace } = loop.state
    const data = {
      service: namespace,
      ...(wanted.level === "running" ? {} : { reason: wanted.reason, hint: wanted.hint }),
    }
    if (wanted.level === "quarantined")
      throw new ClarityError(
        "conflict",
        `service ${namespace} is quarantined, unquarantine it first: ${wanted.reason}`,
        { data },
      )
    if (!loop.state.view.manifest.spec.enabled)
      throw new ClarityError("conflict", `service ${namespace} is disabled in its manifest (spec.enabled)`, { data })
  }

  async function wish(loop: ServiceLoop, desired: "running" | "stopped"): Promise<void> {
    await registry.patch(loop.state.id, { desired })
    follow()
  }

  /** What is told to an operator is published to everybody before. */
  function told(loop: ServiceLoop): ServiceStatus {
    snapshots.flush()
    if (loops.get(loop.state.id) !== loop) throw unknownService(loop.state.id)
    return loop.status()
  }

  /** Until what runs is what is wanted now, or could not be had. */
  function settle(loop: ServiceLoop): Promise<void> {
    return loop.state.wanted.level === "running" ? loop.bringUp() : loop.settleStopped()
  }

  async function dispose(): Promise<void> {
    over.abort()
    await Promise.all([...living].map((loop) => loop.close(bounds.closeDrainMs)))
    snapshots[Symbol.dispose]()
  }

  async function keepBudget(budgetBytes: number): Promise<void> {
    while (!over.signal.aborted) {
      await clock.sleep(bounds.vitalsMs, over.signal)
      if (over.signal.aborted) return
      const open = [...loops.values()].map((loop) => ({ loop, ...loop.instances() }))
      const stopped = overBudget(
        open.flatMap(({ all }) => all),
        open.flatMap(({ spare }) => spare),
        budgetBytes,
      )
      for (const instance of stopped) open.find(({ all }) => all.includes(instance))?.loop.recycle(instance, "budget")
    }
  }

  async function watchNames(): Promise<void> {
    const names = createForeignNames(telemetry)
    for await (const { services } of snapshots.changes(over.signal)) await names.look(services, over.signal)
  }

  void followChanges()
  void watchNames()
  if (bounds.memoryBudgetMb !== undefined) void keepBudget(bounds.memoryBudgetMb * 1_048_576)

  return {
    snapshot: () => snapshots.current(),
    changes: (signal) => snapshots.changes(signal),
    acquire(serviceId, context) {
      const loop = loops.get(serviceId)
      if (loop !== undefined) return loop.acquire(context)
      try {
        return loopOf(serviceId).acquire(context)
      } catch (error) {
        return Promise.reject(error)
      }
    },
    status: (id) => loops.get(id)?.status(),
    statuses: () => ordered.map((loop) => loop.status()),
    async start(id) {
      const loop = loopOf(id)
      refuseHindered(loop)
      if (loop.state.wanted.level !== "running") await wish(loop, "running")
      await loop.bringUp()
      return told(loop)
    },
    async stop(id) {
      const loop = loopOf(id)
      if (desiredOf(loop.state.record) !== "stopped" || loop.state.wanted.level === "quarantined")
        await wish(loop, "stopped")
      await loop.settleStopped()
      return told(loop)
    },
    async restart(id) {
      const loop = loopOf(id)
      refuseHindered(loop)
      if (loop.state.wanted.level !== "running") await wish(loop, "running")
      await loop.restart()
      return told(loop)
    },
    async unquarantine(id) {
      const loop = loopOf(id)
      if (loop.state.wanted.level === "quarantined") {
        await loop.state.written()
        await registry.patch(id, { quarantine: null })
        follow()
        loop.pardon()
        await settle(loop)
      }
      return told(loop)
    },
    async introspect(id) {
      const introspection = await loopOf(id).introspect()
      snapshots.flush()
      return introspection
    },
    [Symbol.asyncDispose]: () => (disposing ??= dispose()),
  }
}

function unknownService(id: string): ClarityError {
  const service = id.slice(0, 100)
  return new ClarityError("not_found", `no service has the id ${service}`, { data: { service } })
}

/** Only wishes, quarantine or interfaces differ: names and order stay. */
function sameManifests(before: RegistrySnapshot | undefined, now: RegistrySnapshot): boolean {
  if (before?.services.size !== now.services.size) return false
  for (const [id, { manifest }] of now.services) if (before.services.get(id)?.manifest !== manifest) return false
  return true
}
