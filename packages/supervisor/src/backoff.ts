import type { ClarityError, Clock, RestartPolicy } from "@clarity-runtime/contracts"
import type { Bounds } from "./options.ts"

/** What a failure leads to: another attempt after `delayMs`, waiting for a person, or quarantine. */
export interface Verdict {
  readonly then: "retry" | "rest" | "quarantine"
  readonly delayMs: number
}

/** Why a service is down and when it is tried again. */
export interface Failure {
  readonly error: ClarityError
  /** Monotonic milliseconds. */
  readonly at: number
  readonly delayMs: number
  /** Nothing is tried again before a person asks or the manifest changes. */
  readonly rest: boolean
}

type BackoffBounds = Pick<Bounds, "backoffFirstMs" | "backoffCapMs" | "backoffJitter">

/** The wait after the n-th failure in a row (n from 1): doubling up to the cap, then varied by the jitter. */
export function backoffMs(failures: number, bounds: BackoffBounds, random: () => number): number {
  const plain = Math.min(bounds.backoffCapMs, bounds.backoffFirstMs * 2 ** Math.min(failures - 1, 30))
  return plain * (1 + bounds.backoffJitter * (2 * random() - 1))
}

/** Counts one service's failures: in a row for the back-off, inside the policy's window for the crash loop. */
export class FailureCount {
  #inARow = 0
  #recent: number[] = []
  readonly #clock: Clock
  readonly #random: () => number
  readonly #bounds: BackoffBounds

  constructor(clock: Clock, random: () => number, bounds: BackoffBounds) {
    this.#clock = clock
    this.#random = random
    this.#bounds = bounds
  }

  get inARow(): number {
    return this.#inARow
  }

  /** One more failure. `counts`: it counts toward quarantine. */
  note(policy: RestartPolicy, counts: boolean): Verdict {
    const now = this.#clock.monotonic()
    this.#inARow += 1
    if (counts) this.#recent.push(now)
    this.#recent = this.#recent.filter((at) => now - at <= policy.windowSeconds * 1000).slice(-1000)
    const delayMs = backoffMs(this.#inARow, this.#bounds, this.#random)
    if (policy.mode === "never") return { then: "rest", delayMs }
    if (policy.maxRestarts > 0 && this.#recent.length >= policy.maxRestarts) return { then: "quarantine", delayMs }
    return { then: "retry", delayMs }
  }

  /** A person takes over: the next back-off is the first again; the window still remembers. */
  pardon(): void {
    this.#inARow = 0
  }

  /** All is forgotten: it was good for long enough, or quarantine was lifted. */
  clear(): void {
    this.#inARow = 0
    this.#recent = []
  }
}
