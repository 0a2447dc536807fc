import { ClarityError, type ServiceRecord } from "@clarity-runtime/contracts"
import type { ControlContext } from "./context.ts"
import { known, type Known } from "./shapes/present.ts"

/** The service with exactly this id. Throws `not_found` naming it. */
export function requireService(context: ControlContext, id: string): Known {
  const record = context.registry.snapshot().services.get(id)
  if (record === undefined) throw new ClarityError("not_found", `service not found: ${printable(id)}`)
  return known(context, record)
}

/** All services, newest first; those of one moment in the reverse order of their registration. */
export function newestFirst(context: ControlContext): ServiceRecord[] {
  return [...context.registry.snapshot().services.values()].reverse().sort((a, b) => b.createdAt - a.createdAt)
}

/**
 * What a person may mean by a text: the service of that id, else those of that name (display name, module, namespace),
 * else those whose id or name begins so. The first kind that fits anything decides; letters' case does not matter.
 */
export function matching(services: readonly Known[], text: string): Known[] {
  const wanted = text.toLowerCase()
  const ids = services.filter(({ record }) => record.id === text)
  if (ids.length > 0) return ids
  const named = services.filter((service) => namesOf(service).includes(wanted))
  if (named.length > 0) return named
  return services.filter((service) =>
    [service.record.id, service.record.id.replace(/^svc_/, ""), ...namesOf(service)].some((name) =>
      name.startsWith(wanted),
    ),
  )
}

function namesOf({ record, status }: Known): string[] {
  const { displayName, module } = record.manifest.metadata
  return [displayName, module, status?.namespace].filter((name) => name !== undefined).map((name) => name.toLowerCase())
}

/** A text of the caller's, fit to be quoted in a message: bounded, on one line. */
export function printable(text: string): string {
  return text.slice(0, 200).replace(/[\p{Cc}\p{Cf}]/gu, "?")
}
