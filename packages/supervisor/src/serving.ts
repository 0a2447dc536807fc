import {
  abortError,
  asClarityError,
  ClarityError,
  type AcquireContext,
  type Clock,
  type Lease,
  type ServiceView,
} from "@clarity-runtime/contracts"
import { deadline } from "./deadline.ts"
import type { Wanted } from "./desired.ts"
import { conditionOf, unavailable } from "./health.ts"
import { keyOf, type Instance } from "./instances.ts"
import type { Pool } from "./pool.ts"
import type { ServiceState } from "./state.ts"

/** Gives calls their instance: at once when it is there, else after waiting for this service alone. */
export class Serving {
  readonly #state: ServiceState
  readonly #pool: Pool
  readonly #clock: Clock
  readonly #startMs: number

  constructor(state: ServiceState, pool: Pool) {
    this.#state = state
    this.#pool = pool
    this.#clock = state.parts.clock
    this.#startMs = state.parts.bounds.startMs
  }

  acquire(context: AcquireContext): Promise<Lease> {
    const { view, main } = this.#state
    if (context.signal.aborted) return Promise.reject(abortError(context.signal))
    if (view.manifest.spec.isolation !== "shared") return this.#keyed(context)
    if (main?.usable) return Promise.resolve(main.lease())
    return this.withMain(context.signal, (instance) => instance.lease())
  }

  /** Waits until the service's own instance is up, no longer than a start may take. Throws `unavailable`. */
  async withMain<T>(signal: AbortSignal, use: (main: Instance) => T): Promise<T> {
    const until = this.#clock.monotonic() + this.#startMs
    const before = this.#state.failedAttempts
    const limit = deadline(this.#clock, this.#startMs, signal, () => this.refused(true))
    this.#wait(1)
    try {
      return await this.#state.waiters.until(() => {
        const { main } = this.#state
        if (main?.usable) return { value: use(main) }
        const refusal = this.#refusal(before, until)
        if (refusal !== undefined) throw refusal
        return undefined
      }, limit.signal)
    } finally {
      this.#wait(-1)
      limit.end()
    }
  }

  /** Why waiting on is of no use: not wanted, tried in vain, or the next attempt comes too late. */
  #refusal(failedBefore: number, until: number): ClarityError | undefined {
    const { wanted, failure, attempt, dueAt, failedAttempts, awaySince } = this.#state
    if (wanted.level !== "running") return this.refused(false)
    if (failure === undefined || attempt !== undefined) return undefined
    if (failure.rest) return this.refused(false)
    if (dueAt > until) return this.refused(true)
    if (failedAttempts === failedBefore) return undefined
    const awayMs = this.#clock.monotonic() - (awaySince ?? 0)
    const { retryable } = failure.error.entry
    return retryable && awayMs < this.#startMs ? undefined : this.refused(retryable)
  }

  /** The error for a call that cannot be served now. */
  refused(retryable: boolean): ClarityError {
    const { view, wanted, dueAt } = this.#state
    if (!retryable) return unavailable(asWanted(view, wanted), { retryable })
    const retryAfterMs = dueAt === Infinity ? 1_000 : dueAt - this.#clock.monotonic()
    return unavailable(asWanted(view, wanted), { retryable, retryAfterMs: Math.max(retryAfterMs, 100) })
  }

  async #keyed(context: AcquireContext): Promise<Lease> {
    const { wanted, failure, view } = this.#state
    if (wanted.level !== "running" || failure?.rest === true) throw this.refused(false)
    this.#used()
    try {
      return await this.#pool.acquire(keyOf(view.manifest.spec.isolation, context), context.signal)
    } catch (thrown) {
      const error = asClarityError(thrown)
      if (context.signal.aborted || (error.code === "unavailable" && error.data.service !== undefined)) throw error
      const condition = conditionOf(error, view.manifest.spec.origin.type)
      throw unavailable({ ...this.#state.view, ...condition }, { retryable: error.entry.retryable })
    }
  }

  #wait(count: 1 | -1): void {
    this.#state.waiting += count
    if (count > 0) this.#state.attempt?.ticket.hurry()
    this.#state.wake.call()
  }

  /** The service's own instance, which learns the interface and tells of health, runs beside its callers' own. */
  #used(): void {
    const { main, attempt, failure } = this.#state
    if (main !== undefined || attempt !== undefined || failure !== undefined) return
    this.#state.kicked = true
    this.#state.wake.call()
  }

  /** Every instance a caller may have of its own is in use. */
  full(count: number): ClarityError {
    const { namespace, manifest } = this.#state.view
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
