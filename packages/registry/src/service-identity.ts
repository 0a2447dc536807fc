import { ClarityError, serviceIdOf, type ServiceManifest, type ServiceRecord } from "@clarity-runtime/contracts"

/**
 * Which record a manifest is about; an id without a record is that of a new one. Nobody can take over a service by its id:
 *
 * - A service is where it comes from: two manifests with the same derived id (`serviceIdOf`) are the same service.
 * - `metadata.serviceId` may be absent or the derived id: then it is the record with that origin, whatever its id
 *   (0.9 files may hold ids somebody chose), else a new one under the derived id.
 * - It may be the id of a record with the same origin: then it is that one.
 * - Any other id is refused: `conflict` when a service from elsewhere has it, `invalid_manifest` when nobody has.
 */
export function identityOf(manifest: ServiceManifest, services: ReadonlyMap<string, ServiceRecord>): string {
  const derived = originOf(manifest)
  const given = manifest.metadata.serviceId ?? derived
  const named = services.get(given)
  if (named !== undefined && originOf(named.manifest) === derived) return given
  if (given !== derived && named !== undefined) throw foreign(given)
  if (given !== derived)
    throw new ClarityError(
      "invalid_manifest",
      `metadata.serviceId ${given} is not the id of this origin: leave it out, or give ${derived}`,
      { data: { reason: "foreign_id" } },
    )
  for (const record of services.values()) if (originOf(record.manifest) === derived) return record.id
  if (named !== undefined) throw foreign(given)
  return derived
}

/** Stored manifests never change, so each is hashed once. */
const origins = new WeakMap<ServiceManifest, string>()

function originOf(manifest: ServiceManifest): string {
  const known = origins.get(manifest) ?? serviceIdOf(manifest)
  origins.set(manifest, known)
  return known
}

function foreign(id: string): ClarityError {
  return new ClarityError(
    "conflict",
    `service ${id} has another origin: remove it first to put something else in its place`,
    { data: { service: id, reason: "foreign_id" } },
  )
}
