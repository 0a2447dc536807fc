import {
  asClarityError,
  assignNamespaces,
  ClarityError,
  createBroadcast,
  interfaceRevision,
  silentTelemetry,
  systemClock,
  type Backend,
  type BackendFactory,
  type BackendSource,
  type Clock,
  type Credentials,
  type Interface,
  type Registry,
  type ServiceDefinition,
  type ServiceRecord,
  type ServiceView,
  type SourceSnapshot,
  type Telemetry,
} from "@clarity-runtime/contracts"

export interface OpenOnUseOptions {
  readonly registry: Registry
  /** One factory per type of origin that the registry's services have. Theirs to dispose is the caller's. */
  readonly backends: readonly BackendFactory[]
  /** Needed by services with an `authRef` or `secretRef`; without it those fail by name. */
  readonly credentials?: Credentials
  readonly telemetry?: Telemetry
  readonly clock?: Clock
}

const startMs = 30_000

interface Slot {
  readonly definition: ServiceDefinition
  readonly record: ServiceRecord
  opening: Promise<Backend> | undefined
  view: ServiceView
}

/**
 * The simplest source: every registered service is opened once, to learn what it offers, and opened again when it has
 * gone away and is called. No restarts, no health, no quarantine: that is a supervisor's work.
 */
export function openOnUse(options: OpenOnUseOptions): BackendSource & AsyncDisposable {
  const { registry, telemetry = silentTelemetry, clock = systemClock, credentials = noCredentials } = options
  const factories = new Map(options.backends.map((factory) => [factory.type as string, factory]))
  const closing = new AbortController()
  const changed = createBroadcast<SourceSnapshot>()
  let slots = new Map<string, Slot>()
  let snapshot: SourceSnapshot = { generation: 0, services: [] }

  function publish(): void {
    const services = [...slots.values()].map((slot) => slot.view)
    services.sort((a, b) => (a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : 0))
    snapshot = { generation: snapshot.generation + 1, services }
    changed.publish(snapshot)
  }

  function sync(): void {
    const records = registry.snapshot().services
    const namespaces = assignNamespaces([...records.values()])
    const next = new Map<string, Slot>()
    for (const record of records.values()) {
      const old = slots.get(record.id)
      const namespace = namespaces.get(record.id) ?? record.id
      if (old?.record.manifest === record.manifest && old.definition.namespace === namespace) next.set(record.id, old)
      else next.set(record.id, slotFor(record, { id: record.id, namespace, manifest: record.manifest }))
    }
    for (const [id, slot] of slots) if (next.get(id) !== slot) void closeSlot(slot)
    slots = next
    publish()
    for (const slot of slots.values()) {
      if (slot.view.listed && slot.view.stale && slot.opening === undefined) void openSlot(slot).catch(() => undefined)
    }
  }

  function slotFor(record: ServiceRecord, definition: ServiceDefinition): Slot {
    const stored = registry.interfaceOf(record.id)
    const listed = definition.manifest.spec.enabled && record.quarantine === undefined && record.desired !== "stopped"
    const known = stored === undefined ? {} : { interface: stored, revision: interfaceRevision(stored) }
    const view: ServiceView = {
      ...definition,
      lifecycle: "REGISTERED",
      health: "UNKNOWN",
      stale: true,
      listed,
      ...known,
    }
    return { definition, record, opening: undefined, view }
  }

  function openSlot(slot: Slot): Promise<Backend> {
    slot.opening ??= start(slot).catch((thrown: unknown) => {
      const error = asClarityError(thrown)
      slot.opening = undefined
      slot.view = { ...slot.view, lifecycle: "CRASHED", health: "UNREACHABLE", reason: error.message, stale: true }
      publish()
      throw error
    })
    return slot.opening
  }

  async function start(slot: Slot): Promise<Backend> {
    const { definition } = slot
    const { type } = definition.manifest.spec.origin
    const factory = factories.get(type)
    if (factory === undefined)
      throw new ClarityError("unavailable", `no backend is configured for origin ${type}`, {
        data: { service: definition.namespace },
      })
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(startMs)])
    const services = { clock, credentials, log: telemetry.logOf(definition.id), isolationKey: "shared" }
    const backend = await factory.open(definition as Parameters<typeof factory.open>[0], services, signal)
    const face: Interface = await learn(slot, backend, signal).catch(async (error: unknown) => {
      await backend[Symbol.asyncDispose]()
      throw error
    })
    const { reason: _reason, ...view } = slot.view
    slot.view = {
      ...view,
      lifecycle: "RUNNING",
      health: "HEALTHY",
      interface: face,
      revision: interfaceRevision(face),
      stale: false,
    }
    publish()
    void follow(slot, backend).catch((thrown: unknown) => complain(slot, "no longer watched", thrown))
    return backend
  }

  async function learn({ definition }: Slot, backend: Backend, signal: AbortSignal): Promise<Interface> {
    const face = await backend.describe(signal)
    await registry.storeInterface(definition.id, face, clock.now())
    return face
  }

  function complain({ definition }: Slot, what: string, thrown: unknown): void {
    if (closing.signal.aborted) return
    const message = `${definition.namespace}: ${what}: ${asClarityError(thrown).message}`
    telemetry.record({ kind: "gateway.failed", level: "warn", message, serviceId: definition.id })
  }

  async function follow(slot: Slot, backend: Backend): Promise<void> {
    for await (const change of backend.watch?.({ lists: true }, closing.signal) ?? []) {
      if (change.kind === "exit") {
        slot.opening = undefined
        slot.view = { ...slot.view, lifecycle: "CRASHED", health: "UNREACHABLE", reason: change.reason, stale: true }
        publish()
        return void (await backend[Symbol.asyncDispose]())
      } else if (change.kind === "lists") {
        try {
          const face = await backend.describe(closing.signal)
          slot.view = { ...slot.view, interface: face, revision: interfaceRevision(face) }
          publish()
        } catch (thrown) {
          complain(slot, "its changed lists cannot be read", thrown)
        }
      }
    }
  }

  async function closeSlot(slot: Slot): Promise<void> {
    const backend = await slot.opening?.catch(() => undefined)
    await backend?.[Symbol.asyncDispose]()
  }

  async function followRegistry(): Promise<void> {
    for await (const _ of registry.changes(closing.signal)) sync()
  }
  void followRegistry()
  sync()

  return {
    snapshot: () => snapshot,
    changes: (signal) => changed.subscribe(signal),
    async acquire(id, context) {
      const slot = slots.get(id)
      if (slot === undefined) throw new ClarityError("not_found", `no service ${id}`)
      if (!slot.view.listed)
        throw new ClarityError("unavailable", `${slot.definition.namespace} is stopped`, {
          data: { service: slot.definition.namespace },
        })
      const backend = await untilAborted(openSlot(slot), context.signal)
      return { backend, release: () => {} }
    },
    async [Symbol.asyncDispose]() {
      closing.abort()
      changed.close()
      await Promise.all([...slots.values()].map(closeSlot))
    },
  }
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(asClarityError(signal.reason))
    if (signal.aborted) return gone()
    signal.addEventListener("abort", gone, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", gone))
  })
}

const noCredentials: Credentials = {
  headers: (ref) =>
    Promise.reject(
      new ClarityError(
        "upstream_unauthorized",
        `no credentials are configured, so ${ref.split(":")[0]} cannot be resolved`,
      ),
    ),
  secret: (ref) =>
    Promise.reject(
      new ClarityError(
        "upstream_unauthorized",
        `no credentials are configured, so ${ref.split(":")[0]} cannot be resolved`,
      ),
    ),
}
