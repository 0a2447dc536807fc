import {
  ClarityError,
  unknownTarget,
  type ClientProfile,
  type JsonObject,
  type Principal,
  type ServiceView,
} from "@clarity-runtime/contracts"
import type { Core } from "./call.ts"
import type { CatalogView } from "./catalog/view.ts"

export interface ResourceWatch {
  readonly uri: string
  readonly view: CatalogView
  readonly principal: Principal
  readonly client: ClientProfile
  readonly session?: string | undefined
  readonly signal: AbortSignal
  /** `params` of `notifications/resources/updated`, with the URI as this endpoint shows it. */
  readonly updated: (params: JsonObject) => void
  /** It watches no longer, because the signal aborted or the service was removed. */
  readonly ended?: () => void
}

/**
 * Watches one resource until the signal aborts, across restarts of its service. Resolves once the upstream has accepted.
 * Throws `invalid_params` for an unknown resource, `method_not_found` where the service has no subscriptions.
 */
export async function watchResource(core: Core, watch: ResourceWatch): Promise<void> {
  const found = watch.view.resource(watch.uri)
  if (found === undefined || !found.service.listed) throw unknownTarget("resource", watch.uri)
  const refused = whyNot(core, watch, found)
  if (refused !== undefined) throw refused
  const leave = enter(core, watch.principal)
  await new Promise<void>((resolve, reject) => {
    const unbegun = () => reject(new ClarityError("cancelled", "the subscription ended before it began"))
    void keepWatching(core, watch, found, resolve)
      .finally(leave)
      .finally(() => watch.ended?.())
      .then(unbegun, reject)
  })
}

/** Each holds a service open and asks it anew when that ends: a caller has so many over all its streams and sessions. */
const mostWatched = 1024

/** Gives back what takes this watch off the count. Throws `rate_limited`. */
function enter({ watches }: Core, { id }: Principal): () => void {
  const own = watches.get(id) ?? 0
  if (own >= mostWatched) {
    const data = { reason: "subscriptions", retryAfterMs: 30_000 }
    throw new ClarityError("rate_limited", `too many resources are watched (${own}/${mostWatched})`, { data })
  }
  watches.set(id, own + 1)
  return () => {
    const rest = (watches.get(id) ?? 1) - 1
    if (rest > 0) watches.set(id, rest)
    else watches.delete(id)
  }
}

/**
 * Why this caller may not watch it under the rules of now; undefined: they may. What is hidden looks unknown. Where a
 * person would have to be asked nobody is: a subscription is no call that could wait for them.
 */
function whyNot(
  { policy }: Core,
  { principal, uri }: ResourceWatch,
  { service, uri: target }: { readonly service: ServiceView; readonly uri: string },
): ClarityError | undefined {
  if (policy.visible?.(principal, service, "resource", target) === false) return unknownTarget("resource", uri)
  const input = { id: "", principal, service, method: "resources/subscribe", target, bytes: 0, depth: 0 }
  const refused = policy.refusal?.(input)
  if (refused !== undefined) return refused.code === "policy_denied" ? refused : unknownTarget("resource", uri)
  if (policy.asks?.(input) !== true) return undefined
  return new ClarityError("policy_denied", "a person must approve each use of this resource, so it cannot be watched", {
    data: { service: service.namespace, reason: "approval_required" },
  })
}

async function keepWatching(
  core: Core,
  watch: ResourceWatch,
  { service, uri: own }: { service: ServiceView; uri: string },
  begun: () => void,
): Promise<void> {
  const uris = watch.view.urisOf(service)
  let first = true
  while (!watch.signal.aborted) {
    const { principal, client, session, signal } = watch
    try {
      const lease = await core.source.acquire(service.id, { principal, client, session, signal })
      try {
        if (lease.backend.watch === undefined) throw unsubscribable(watch.uri)
        for await (const change of lease.backend.watch({ resources: [own] }, signal)) {
          if (change.kind === "watching" && !change.resources.includes(own) && first) throw unsubscribable(watch.uri)
          if (change.kind === "watching") begun()
          first = false
          // Something may have changed while nobody was watching, but nothing says so: only real news is passed on.
          // An upstream may name a part of what is watched (MCP, resources: subscriptions).
          if (change.kind === "resource" && change.uri.startsWith(own)) {
            if (whyNot(core, watch, { service, uri: own }) !== undefined) return
            if (core.policy.visible?.(principal, service, "resource", change.uri) === false) continue
            watch.updated({ ...change.params, uri: uris.out(change.uri) })
          }
        }
      } finally {
        lease.release()
      }
    } catch (error) {
      if (first) throw error
      if (error instanceof ClarityError && error.code === "not_found") return // the service was removed
    }
    await core.clock.sleep(1000, watch.signal)
  }
}

function unsubscribable(uri: string): ClarityError {
  return new ClarityError("method_not_found", `the service of ${uri.slice(0, 200)} has no resource subscriptions`)
}
