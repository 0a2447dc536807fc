import {
  abortError,
  asClarityError,
  ClarityError,
  type Backend,
  type BackendFactory,
  type BackendServices,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import { raced } from "./deadline.ts"

/** One factory for each type of origin. */
export type Factories = ReadonlyMap<string, BackendFactory>

export function factoriesByType(factories: readonly BackendFactory[]): Factories {
  return new Map(factories.map((factory) => [factory.type as string, factory]))
}

/** The error of an origin nobody here can open; trying again cannot help. */
export class UnknownOrigin extends ClarityError {}

/**
 * Opens a backend. When the signal aborts first, the factory gets `disposeMs` to undo what it began; a backend that comes
 * even later is disposed on arrival. Throws ClarityError.
 */
export async function openBackend(
  factories: Factories,
  definition: ServiceDefinition,
  services: BackendServices,
  signal: AbortSignal,
  disposeMs: number,
): Promise<Backend> {
  const { type } = definition.manifest.spec.origin
  const factory = factories.get(type)
  if (factory === undefined) {
    const known = [...factories.keys()].sort().join(", ") || "none"
    throw new UnknownOrigin("config_error", `no part of this runtime can open an origin of type ${type}`, {
      data: { reason: "unknown_origin", hint: `origin types served here: ${known}` },
    })
  }
  const opening = Promise.resolve().then(() => factory.open(definition as never, services, signal))
  try {
    return await raced(opening, signal)
  } catch (thrown) {
    if (signal.aborted) {
      const undone = opening.then(
        (late) => late[Symbol.asyncDispose](),
        () => undefined,
      )
      const patience = new AbortController()
      await Promise.race([
        undone.catch(() => services.log.write("runtime", "closing a backend that came too late failed")),
        services.clock.sleep(disposeMs, patience.signal),
      ])
      patience.abort()
      throw abortError(signal)
    }
    throw asClarityError(thrown, "it could not be opened; the daemon's log has the details")
  }
}
