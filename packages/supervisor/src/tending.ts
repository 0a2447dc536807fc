import type { ClarityError, Clock, ServiceLog } from "@clarity-runtime/contracts"
import { probeNowAndThen } from "./health.ts"
import type { Instance } from "./instances.ts"
import type { Bounds } from "./options.ts"
import { recycleWhenDue, type RecycleReason, type RecycleRules } from "./recycle.ts"
import { watchInstance } from "./watching.ts"

/** What the owner of an instance hears of it; nothing any more once it is retired. */
export interface Owner {
  lists(): void
  exit(reason: string): void
  well(): void
  unwell(error: ClarityError, inARow: number): void
  recycle(reason: RecycleReason): void
  rules(): RecycleRules
  /** Counts as used although nobody holds a lease. */
  busy(): boolean
}

export interface TendingParts {
  readonly clock: Clock
  readonly random: () => number
  readonly bounds: Bounds
  readonly log: ServiceLog
}

/** Listens to an instance, probes it and watches its age until it is retired. Only a service's own instance is probed. */
export function tend(instance: Instance, own: boolean, parts: TendingParts, owner: Owner): void {
  const { clock, bounds, log } = parts
  const failed = (what: string) => (error: unknown) =>
    log.write("runtime", `${what} it failed: ${String(error).slice(0, 500)}`)
  watchInstance(instance, own ? { lists: true } : {}, parts, owner).catch(failed("watching"))
  if (own) probeNowAndThen(instance, parts, owner).catch(failed("probing"))
  const rules = { clock, vitalsMs: bounds.vitalsMs, rules: () => owner.rules(), busy: () => owner.busy() }
  recycleWhenDue(instance, rules, (reason) => owner.recycle(reason)).catch(failed("recycling"))
}
