import {
  ClarityError,
  interfaceRevision,
  type Backend,
  type BackendSource,
  type Interface,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"

/** A service that is part of the program: always there, never restarted. */
export interface FixedService {
  readonly definition: ServiceDefinition
  readonly backend: Backend
  readonly interface: Interface
}

/** A source of services that live as long as the program, such as the runtime's own tools. The backends stay the caller's. */
export function fixedSource(services: readonly FixedService[]): BackendSource {
  const snapshot = {
    generation: 1,
    services: services.map(({ definition, interface: face }) => ({
      ...definition,
      lifecycle: "RUNNING" as const,
      health: "HEALTHY" as const,
      interface: face,
      revision: interfaceRevision(face),
      stale: false,
      listed: true,
    })),
  }
  const backends = new Map(services.map(({ definition, backend }) => [definition.id, backend]))
  return {
    snapshot: () => snapshot,
    async *changes() {},
    async acquire(id) {
      const backend = backends.get(id)
      if (backend === undefined) throw new ClarityError("not_found", `no service ${id}`)
      return { backend, release: () => {} }
    },
  }
}
