import type { JsonObject } from "@clarity-runtime/contracts"

/** Calls of one service since the daemon started, or since it was forgotten. */
export interface CallStats {
  readonly calls: number
  /** Calls that ended neither well nor cancelled. */
  readonly errors: number
  /** Milliseconds, up to 19 % too high; 0 without calls. */
  readonly p50Ms: number
  readonly p99Ms: number
}

const perOctave = 4
const firstOctave = -4
const buckets = 104

/** Counts calls without keeping them: a histogram of 104 steps from 1/16 ms to about an hour, each 19 % wide. */
export class CallCounter {
  #calls = 0
  #errors = 0
  readonly #histogram = new Uint32Array(buckets)

  /** `data` of a call's event: `outcome` ("ok", "cancelled", or a kind of failure) and `durationMs`. */
  count(data: JsonObject, failed: boolean): void {
    const { outcome, durationMs } = data
    this.#calls++
    if (typeof outcome === "string" ? outcome !== "ok" && outcome !== "cancelled" : failed) this.#errors++
    if (typeof durationMs !== "number" || !(durationMs >= 0)) return
    const step = Math.floor((Math.log2(durationMs) - firstOctave) * perOctave)
    const bucket = Math.min(buckets - 1, Math.max(0, step))
    this.#histogram[bucket] = (this.#histogram[bucket] ?? 0) + 1
  }

  stats(): CallStats {
    return { calls: this.#calls, errors: this.#errors, p50Ms: this.#quantile(0.5), p99Ms: this.#quantile(0.99) }
  }

  #quantile(share: number): number {
    let total = 0
    for (const count of this.#histogram) total += count
    if (total === 0) return 0
    let seen = 0
    const wanted = Math.ceil(total * share)
    for (const [bucket, count] of this.#histogram.entries()) {
      seen += count
      if (seen >= wanted) return Number((2 ** (firstOctave + (bucket + 1) / perOctave)).toPrecision(3))
    }
    return 0
  }
}
