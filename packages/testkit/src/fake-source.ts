import {
  abortError,
  ClarityError,
  createBroadcast,
  interfaceRevision,
  type AcquireContext,
  type Backend,
  type BackendSource,
  type Interface,
  type ServiceManifest,
  type ServiceView,
  type SourceSnapshot,
} from "@clarity-runtime/contracts"
import { serviceDefinition, stdioManifest } from "./manifests.ts"

/** One service of a fake source. Without a backend it cannot be acquired. */
export interface FakeService extends Partial<ServiceView> {
  /** Module and namespace when no manifest is given. */
  readonly name?: string
  readonly manifest?: ServiceManifest
  readonly backend?: Backend & { readonly interface?: Interface }
}

export interface FakeSource extends BackendSource {
  /** Replaces all services and publishes. */
  set(services: readonly FakeService[]): void
  /** What was asked for, in order. */
  readonly acquired: readonly { readonly serviceId: string; readonly context: AcquireContext }[]
  /** Leases given out and not released. */
  readonly leases: number
  /** Leases released as broken. */
  readonly broken: number
}

/** A source of ready backends. A running service with a `fakeBackend` shows that backend's interface. */
export function fakeSource(services: readonly FakeService[] = []): FakeSource {
  const published = createBroadcast<SourceSnapshot>()
  const backends = new Map<string, Backend>()
  const acquired: { serviceId: string; context: AcquireContext }[] = []
  let snapshot: SourceSnapshot = { generation: 0, services: [] }
  let leases = 0
  let broken = 0

  function set(next: readonly FakeService[]): void {
    backends.clear()
    const views = next.map((service) => {
      const view = viewOf(service)
      if (service.backend) backends.set(view.id, service.backend)
      return view
    })
    views.sort((a, b) => compare(a.namespace, b.namespace) || compare(a.id, b.id))
    snapshot = { generation: snapshot.generation + 1, services: views }
    published.publish(snapshot)
  }
  set(services)

  return {
    set,
    acquired,
    get leases() {
      return leases
    },
    get broken() {
      return broken
    },
    snapshot: () => snapshot,
    changes: (signal) => published.subscribe(signal),
    async acquire(serviceId, context) {
      acquired.push({ serviceId, context })
      if (context.signal.aborted) throw abortError(context.signal)
      const view = snapshot.services.find(({ id }) => id === serviceId)
      if (view === undefined) throw new ClarityError("not_found", `no service ${serviceId}`)
      const backend = backends.get(serviceId)
      if (backend === undefined) throw new ClarityError("unavailable", `service ${view.namespace} is ${view.lifecycle}`)
      leases++
      let held = true
      return {
        backend,
        release(outcome) {
          if (!held) return
          held = false
          leases--
          if (outcome === "broken") broken++
        },
      }
    },
  }
}

function viewOf({ name, manifest, backend, ...overrides }: FakeService): ServiceView {
  const definition = serviceDefinition(manifest ?? stdioManifest(name === undefined ? {} : { name }))
  const face = overrides.interface ?? backend?.interface
  return {
    ...definition,
    lifecycle: backend ? "RUNNING" : "STOPPED",
    health: backend ? "HEALTHY" : "UNKNOWN",
    stale: backend === undefined,
    listed: backend !== undefined,
    ...(face ? { interface: face, revision: interfaceRevision(face) } : {}),
    ...overrides,
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
