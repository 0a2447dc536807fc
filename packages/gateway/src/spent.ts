import { ClarityError } from "@clarity-runtime/contracts"

/** What was good for one time only and has been used. */
export interface Spent {
  /** Uses it up. Throws `invalid_params` the second time, `rate_limited` when more is remembered than there is room for. */
  spend(id: string, expires: number): void
}

/** Remembers each until it would have expired anyway; epoch milliseconds. */
export function createSpent(options: { now: () => number; capacity: number }): Spent {
  const used = new Map<string, number>()
  return {
    spend(id, expires) {
      if (used.has(id))
        throw new ClarityError("invalid_params", "requestState is not valid here: used already; start the call anew", {
          data: { reason: "used already" },
        })
      if (used.size >= options.capacity) {
        const now = options.now()
        for (const [old, until] of used) if (until < now) used.delete(old)
        if (used.size >= options.capacity)
          throw new ClarityError("rate_limited", "too many approved calls are under way", {
            data: { retryAfterMs: 30_000 },
          })
      }
      used.set(id, expires)
    },
  }
}
