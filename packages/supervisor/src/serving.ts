import {
  abortError,
  asClarityError,
  ClarityError,
  type AcquireContext,
  type Clock,
  type Lease,
  type ServiceView,
} from "@clarity-runtime/contracts"
import type { Failure } from "./backoff.ts"
import { deadline } from "./deadline.ts"
import type { Wanted } from "./desired.ts"
import { conditionOf, unavailable } from "./health.ts"
import { keyOf, type Instance } from "./instances.ts"
import type { Bounds } from "./options.ts"
import type { Pool } from "./pool.ts"
import type { Waiters } from "./waiters.ts"

/** What calls must know of the service they wait for. */
export interface Served {
  readonly view: ServiceView
  readonly main: Instance | undefined
  readonly wanted: Wanted
  readonly starting: boolean
  readonly failure: Failure | undefined
  /** Monotonic time of the next attempt; Infinity for none. */
  readonly dueAt: number
  /** Attempts that failed so far. */
  readonly failedAttempts: number
  /** Monotonic time since when it is down. */
  readonly awaySince: number | undefined
  /** A call needs the shared instance, or none does any more. */
  waiting(count: 1 | -1): void
  /** Calls came; the service's own instance should run beside theirs. */
  used(): void
}

/** Gives calls their instance: at once when it is there, else after waiting for this service alone. */
export class Serving {
  readonly #served: Served
  readonly #waiters: Waiters
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #bounds: Bounds

  constructor(served: Served, waiters: Waiters, pool: Pool, parts: { readonly clock: Clock; readonly bounds: Bounds }) {
    this.#served = served
    this.#waiters = waiters
    this.#pool = pool
    this.#clock = parts.clock
    this.#bounds = parts.bounds
  }

  acquire(context: AcquireContext): Promise<Lease> {
    const { view, main } = this.#served
    if (context.signal.aborted) return Promise.reject(abortError(context.signal))
    if (view.manifest.spec.isolation !== "shared") return this.#keyed(context)
    if (main?.usable) return Promise.resolve(main.lease())
    return this.withMain(context.signal, (instance) => instance.lease())
  }

  /** Waits until the service's own instance is up, no longer than a start may take. Throws `unavailable`. */
  async withMain<T>(signal: AbortSignal, use: (main: Instance) => T): Promise<T> {
    const until = this.#clock.monotonic() + this.#bounds.startMs
    const before = this.#served.failedAttempts
    const limit = deadline(this.#clock, this.#bounds.startMs, signal, () => this.refused(true))
    this.#served.waiting(1)
    try {
      return await this.#waiters.until(() => {
        const { main } = this.#served
        if (main?.usable) return { value: use(main) }
        const refusal = this.#refusal(before, until)
        if (refusal !== undefined) throw refusal
        return undefined
      }, limit.signal)
    } finally {
      this.#served.waiting(-1)
      limit.end()
    }
  }

  /** Why waiting on is of no use: not wanted, tried in vain, or the next attempt comes too late. */
  #refusal(failedBefore: number, until: number): ClarityError | undefined {
    const { wanted, failure, starting, dueAt, failedAttempts, awaySince } = this.#served
    if (wanted.level !== "running") return this.refused(false)
    if (failure === undefined || starting) return undefined
    if (failure.rest) return this.refused(false)
    if (dueAt > until) return this.refused(true)
    if (failedAttempts === failedBefore) return undefined
    const awayMs = this.#clock.monotonic() - (awaySince ?? 0)
    const { retryable } = failure.error.entry
    return retryable && awayMs < this.#bounds.startMs ? undefined : this.refused(retryable)
  }

  /** The error for a call that cannot be served now. */
  refused(retryable: boolean): ClarityError {
    const { view, wanted, dueAt } = this.#served
    if (!retryable) return unavailable(asWanted(view, wanted), { retryable })
    const retryAfterMs = dueAt === Infinity ? 1_000 : dueAt - this.#clock.monotonic()
    return unavailable(asWanted(view, wanted), { retryable, retryAfterMs: Math.max(retryAfterMs, 100) })
  }

  async #keyed(context: AcquireContext): Promise<Lease> {
    const { wanted, failure, view } = this.#served
    if (wanted.level !== "running" || failure?.rest === true) throw this.refused(false)
    this.#served.used()
    try {
      return await this.#pool.acquire(keyOf(view.manifest.spec.isolation, context), context.signal)
    } catch (thrown) {
      const error = asClarityError(thrown)
      if (context.signal.aborted || error.data.service !== undefined) throw error
      const condition = conditionOf(error, view.manifest.spec.origin.type)
      throw unavailable({ ...this.#served.view, ...condition }, { retryable: error.entry.retryable })
    }
  }

  /** Every instance a caller may have of its own is in use. */
  full(count: number): ClarityError {
    const { namespace, manifest } = this.#served.view
    const message = `service ${namespace} has ${count} instances in use, which is its limit (isolation: ${manifest.spec.isolation})`
    return new ClarityError("unavailable", message, {
      data: { service: namespace, reason: "instance_limit", retryable: true, retryAfterMs: 5_000 },
    })
  }
}

/** Its state as it is wanted, where what runs has not followed yet. */
function asWanted(view: ServiceView, wanted: Wanted): ServiceView {
  if (wanted.level === "running") return view
  const lifecycle = wanted.level === "quarantined" ? "QUARANTINED" : "STOPPED"
  return { ...view, lifecycle, reason: wanted.reason, hint: wanted.hint }
}
