import { ClarityError, type Clock } from "@clarity-runtime/contracts"
import { createLedger, type Ledger } from "./ledger.ts"
import type { RateRule } from "./rules-schema.ts"

/**
 * A bucket of `calls` per key that refills evenly over `perSeconds`: within any `t` seconds no key gets through more than
 * `calls + calls * t / perSeconds` times, however many other keys there are. A rule of the same name and figures goes
 * on where it was, whatever file it comes from.
 */
export interface Rates {
  /** Undefined and one call less in the bucket, or `rate_limited` with the milliseconds until the next is in it. */
  admit(rule: RateRule, key: string): ClarityError | undefined
}

/** Keys remembered per rule. */
export const rememberedKeys = 4096
const forgottenAtOnce = rememberedKeys / 16

export function createRates(clock: Clock): Rates {
  const ledger: Ledger<RateRule, Buckets> = createLedger(
    ({ name, calls, perSeconds, per }) => JSON.stringify([name, calls, perSeconds, per]),
    ({ calls, perSeconds }) => new Buckets(calls, perSeconds * 1000),
    (buckets, now) => buckets.full(now),
  )
  return {
    admit(rule, key) {
      const now = clock.monotonic()
      const waitMs = ledger.of(rule, now).take(key, now)
      if (waitMs === 0) return undefined
      const { name, calls, perSeconds } = rule
      return new ClarityError(
        "rate_limited",
        `too many calls: ${name} allows ${calls} per ${perSeconds} s; try again in ${Math.ceil(waitMs / 1000)} s`,
        {
          data: { reason: "rate", rule: name, retryAfterMs: Math.ceil(waitMs) },
        },
      )
    },
  }
}

/** A bucket is the moment at which it will be full again; each call puts that off by what one call takes to refill. */
interface Bucket {
  fullAt: number
}

class Buckets {
  readonly #perMs: number
  readonly #oneMs: number
  readonly #buckets = new Map<string, Bucket>()
  /** A bucket that is not known may be one that was forgotten: none of those was emptier than this. */
  #forgotten = 0
  #usedAt = 0

  constructor(calls: number, perMs: number) {
    this.#perMs = perMs
    this.#oneMs = perMs / calls
  }

  /** Milliseconds until there is one to take; 0: it is taken. */
  take(key: string, now: number): number {
    this.#usedAt = now
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      if (this.#buckets.size >= rememberedKeys) this.#forget(now)
      this.#buckets.set(key, (bucket = { fullAt: this.#forgotten }))
    }
    const fullAt = Math.max(bucket.fullAt, now) + this.#oneMs
    const wait = fullAt - now - this.#perMs
    // Sums of many thirds of a millisecond may come out a hair too high.
    if (wait > this.#oneMs * 1e-6) return wait
    bucket.fullAt = fullAt
    return 0
  }

  full(now: number): boolean {
    return now - this.#usedAt >= this.#perMs
  }

  /** Full buckets are as good as new. Where they are too few, the fullest go, and no newcomer starts with more than they had. */
  #forget(now: number): void {
    for (const [key, { fullAt }] of this.#buckets) if (fullAt <= now) this.#buckets.delete(key)
    const excess = this.#buckets.size - rememberedKeys + forgottenAtOnce
    if (excess <= 0) return
    const fullest = Array.from(this.#buckets).sort(([, a], [, b]) => a.fullAt - b.fullAt)
    for (const [key, { fullAt }] of fullest.slice(0, excess)) {
      this.#buckets.delete(key)
      this.#forgotten = fullAt
    }
  }
}
