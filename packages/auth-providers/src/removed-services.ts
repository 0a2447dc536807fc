import type { Registry } from "@clarity-runtime/contracts"

/** Ids of the services that are removed from now on, one set for each change. Ends with the signal. */
export async function* removedServices(
  registry: Pick<Registry, "snapshot" | "changes">,
  signal: AbortSignal,
): AsyncGenerator<ReadonlySet<string>, void, void> {
  let known = new Set(registry.snapshot().services.keys())
  for await (const { services } of registry.changes(signal)) {
    const gone = new Set([...known].filter((id) => !services.has(id)))
    known = new Set(services.keys())
    if (gone.size > 0) yield gone
  }
}
