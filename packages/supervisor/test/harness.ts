import {
  ClarityError,
  createBroadcast,
  interfaceRevision,
  serviceIdOf,
  type AcquireContext,
  type Backend,
  type BackendFactory,
  type BackendServices,
  type Interface,
  type OriginType,
  type Registry,
  type RegistrySnapshot,
  type ServiceDefinition,
  type ServiceManifest,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import {
  fakeBackend,
  fakeCredentials,
  fakeTelemetry,
  manualClock,
  modernClient,
  operator,
  type FakeBackend,
} from "@clarity-runtime/testkit"
import { expect } from "vitest"
import { createSupervisor } from "../src/supervisor.ts"
import type { SupervisorOptions } from "../src/options.ts"

export interface MemoryRegistry extends Registry {
  /** The next writes fail with this. */
  failWith: ClarityError | undefined
  readonly stored: readonly string[]
}

/** A registry in memory whose writes take a turn of the event loop. */
export function memoryRegistry(manifests: readonly ServiceManifest[] = []): MemoryRegistry {
  const published = createBroadcast<RegistrySnapshot>()
  const faces = new Map<string, Interface>()
  const stored: string[] = []
  let snapshot: RegistrySnapshot = { generation: 0, services: new Map() }
  let created = 0

  function set(services: Map<string, ServiceRecord>): void {
    snapshot = { generation: snapshot.generation + 1, services }
    published.publish(snapshot)
  }

  function recordOf(id: string): ServiceRecord {
    const record = snapshot.services.get(id)
    if (record === undefined) throw new ClarityError("not_found", `no ${id}`)
    return record
  }

  function put(manifest: ServiceManifest): ServiceRecord {
    const id = manifest.metadata.serviceId ?? serviceIdOf(manifest)
    const before = snapshot.services.get(id)
    const record: ServiceRecord = {
      ...(before ?? { createdAt: ++created }),
      id,
      manifest,
      revision: (before?.revision ?? 0) + 1,
      updatedAt: 0,
      createdAt: before?.createdAt ?? created,
    }
    set(new Map(snapshot.services).set(id, record))
    return record
  }

  const registry: MemoryRegistry = {
    failWith: undefined,
    stored,
    snapshot: () => snapshot,
    changes: (signal) => published.subscribe(signal),
    async put(manifest) {
      await write()
      return put(manifest)
    },
    async patch(id, patch) {
      await write()
      const { desired, quarantine, ...rest } = { ...recordOf(id), ...patch }
      const record: ServiceRecord = {
        ...rest,
        revision: rest.revision + 1,
        ...(desired ? { desired } : {}),
        ...(quarantine ? { quarantine } : {}),
      }
      set(new Map(snapshot.services).set(id, record))
      return record
    },
    async remove(id) {
      await write()
      const record = recordOf(id)
      const services = new Map(snapshot.services)
      services.delete(id)
      set(services)
      return record
    },
    async storeInterface(id, face, introspectedAt) {
      await write()
      const revision = interfaceRevision(face)
      stored.push(revision)
      faces.set(id, face)
      const record = { ...recordOf(id), interface: { revision, introspectedAt } }
      set(new Map(snapshot.services).set(id, record))
      return revision
    },
    interfaceOf: (id) => faces.get(id),
    async [Symbol.asyncDispose]() {
      published.close()
    },
  }

  async function write(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    if (registry.failWith !== undefined) throw registry.failWith
  }

  for (const manifest of manifests) put(manifest)
  return registry
}

/** One backend a workshop opened, with what it was opened for. */
export interface Opened {
  readonly backend: FakeBackend
  readonly definition: ServiceDefinition
  readonly services: BackendServices
  /** Makes the program end by itself. */
  die(reason?: string): void
}

export interface Workshop {
  readonly factories: readonly BackendFactory[]
  readonly opened: readonly Opened[]
  /** Every attempt, failing ones included. */
  readonly attempts: number
  /** Opened and not disposed, with the key they were opened for. */
  alive(id?: string): Opened[]
  /** What the next openings do; the default makes a backend with one tool named after the service. */
  open: (definition: ServiceDefinition, signal: AbortSignal, attempt: number) => Promise<Backend & FakeBackend>
  latest(): Opened
}

export function workshop(types: readonly OriginType[] = ["local_stdio", "remote_mcp", "local_wasm"]): Workshop {
  const opened: Opened[] = []
  const made: Workshop & { attempts: number } = {
    opened,
    attempts: 0,
    alive: (id) =>
      opened.filter(({ backend, definition }) => backend.disposals === 0 && (id === undefined || definition.id === id)),
    open: async (definition) => fakeBackend({ tools: { [definition.manifest.metadata.module]: "hello" } }),
    latest() {
      const last = opened.at(-1)
      if (last === undefined) throw new Error("nothing was opened")
      return last
    },
    factories: types.map((type) => ({
      type,
      async open(definition: ServiceDefinition, services: BackendServices, signal: AbortSignal) {
        made.attempts += 1
        const backend = await made.open(definition, signal, made.attempts)
        opened.push({
          backend,
          definition,
          services,
          die: (reason = "exited with code 1") => backend.emit({ kind: "exit", reason }),
        })
        return backend
      },
    })) as unknown as readonly BackendFactory[],
  }
  return made
}

const faults = new Set(["service.illegal_transition", "service.supervision_failed", "supervisor.registry_lost"])

/** A supervisor with everything fake around it, and time that stands still. */
export function supervised(
  manifests: readonly ServiceManifest[],
  given: { options?: SupervisorOptions; shop?: Workshop; registry?: MemoryRegistry; random?: () => number } = {},
) {
  const clock = manualClock()
  const registry = given.registry ?? memoryRegistry(manifests)
  const shop = given.shop ?? workshop()
  const telemetry = fakeTelemetry()
  const supervisor = createSupervisor({
    registry,
    factories: shop.factories,
    telemetry,
    credentials: fakeCredentials(),
    clock,
    random: given.random ?? (() => 0.5),
    ...(given.options === undefined ? {} : { options: given.options }),
  })
  const [id = ""] = registry.snapshot().services.keys()
  async function empty(): Promise<void> {
    const ended = supervisor[Symbol.asyncDispose]()
    await clock.advance(60_000)
    await ended
    expect(shop.alive().map(({ definition }) => definition.id)).toEqual([])
    expect(telemetry.events.filter(({ kind }) => faults.has(kind))).toEqual([])
    expect(clock.sleepers).toBe(0)
  }
  return {
    /** Disposes the supervisor and proves that nothing is left, whatever a test did. */
    [Symbol.asyncDispose]: empty,
    clock,
    registry,
    shop,
    telemetry,
    supervisor,
    id,
    kinds: () => telemetry.events.map((event) => event.kind),
    view: (service = id) => supervisor.snapshot().services.find((view) => view.id === service),
    count: (kind: string) => telemetry.events.filter((event) => event.kind === kind).length,
    /** Lets everything happen that needs no time. */
    turn: () => clock.advance(0),
  }
}

export function caller(overrides: Partial<AcquireContext> = {}): AcquireContext {
  return { principal: operator, client: modernClient, signal: new AbortController().signal, ...overrides }
}
