import { ClarityError, type CallOutcome, type CircuitStatus, type Clock } from "@clarity-runtime/contracts"
import { createTally, type Tally } from "./tally.ts"
import type { CircuitRule } from "./rules-schema.ts"

/** A call that a circuit let through. One and the same object for all calls of a circuit that is closed. */
export interface Pass {
  /** How the call ended. What has opened or closed since makes it hearsay: it then changes nothing. */
  settle(serviceId: string, outcome: CallOutcome): void
}

/**
 * One circuit per service. It opens after `consecutive` faults of the service in a row, or when `errorRate` of at
 * least `minCalls` in the window were faults; stays open for `openSeconds`, as many times as it has opened so far, 300 s
 * at most; then one call at a time may try, and the first sign of life closes it. After 600 s closed it begins anew.
 *
 * Only `upstream_error` is a fault. `ok` and `tool_error` are signs of life; `rejected` and `cancelled` tell nothing.
 */
export interface Breaker {
  /** A pass, or `unavailable` (`circuit_open`). A closed circuit costs one look-up, and nothing is made for the call. */
  admit(serviceId: string, namespace?: string): Pass | ClarityError
  /** Closes the circuit and forgets what led to it; calls under way no longer count. */
  forgive(serviceId: string): void
  /** Circuits that are not closed, or that have seen a fault within the window. */
  list(): readonly CircuitStatus[]
  /** Another rule from now on; what is open stays so. */
  reconfigure(rule: CircuitRule): void
}

export const longestOpenMs = 300_000
export const forgottenAfterMs = 600_000
/** A probe that has not ended by then is given up, and the next call may try. */
export const longestProbeMs = 300_000
const probeRetryMs = 1000
const firstSweep = 1024

export function createBreaker({ clock, ...given }: { readonly clock: Clock } & CircuitRule): Breaker {
  let rule: CircuitRule = given
  const circuits = new Map<string, Circuit>()
  let sweepAt = firstSweep

  function added(serviceId: string): Circuit {
    const now = clock.monotonic()
    if (circuits.size >= sweepAt) {
      for (const [id, circuit] of circuits) if (circuit.idle(now)) circuits.delete(id)
      sweepAt = Math.max(firstSweep, 2 * circuits.size)
    }
    const circuit = new Circuit(clock, () => rule)
    circuits.set(serviceId, circuit)
    return circuit
  }

  return {
    admit(serviceId, namespace = serviceId) {
      const circuit = circuits.get(serviceId) ?? added(serviceId)
      const pass = circuit.admit()
      if (typeof pass !== "number") return pass
      const seconds = Math.ceil(pass / 1000)
      const text = `${namespace} has failed too often: its circuit is open, try again in ${seconds} s`
      return new ClarityError("unavailable", text, {
        data: { service: namespace, reason: "circuit_open", retryAfterMs: pass },
      })
    },

    forgive(serviceId) {
      circuits.get(serviceId)?.retire()
      circuits.delete(serviceId)
    },

    list() {
      const now = clock.monotonic()
      return Array.from(circuits, ([serviceId, circuit]) => ({ serviceId, ...circuit.status(now) })).filter(
        ({ state, failures }) => state !== "closed" || failures > 0,
      )
    },

    reconfigure(next) {
      const windowed = next.windowSeconds !== rule.windowSeconds
      rule = next
      if (windowed) for (const circuit of circuits.values()) circuit.rewindow()
    },
  }
}

/** Every change of state hands out a new pass: calls that were let through before cannot be mistaken for later ones. */
class Circuit {
  readonly #clock: Clock
  readonly #rule: () => CircuitRule
  #tally: Tally
  /** Of the calls of a closed circuit, or of its probe; undefined while nobody may call. */
  #pass: Pass | undefined
  #closed = true
  #inARow = 0
  #openings = 0
  #closedAt: number
  #opensUntil = 0
  #probeUntil = 0
  #usedAt: number

  constructor(clock: Clock, rule: () => CircuitRule) {
    this.#clock = clock
    this.#rule = rule
    this.#tally = createTally(rule().windowSeconds * 1000)
    this.#closedAt = this.#usedAt = clock.monotonic()
    this.#pass = this.#newPass()
  }

  /** A pass, or after how many milliseconds it is worth another try. */
  admit(): Pass | number {
    if (this.#closed && this.#pass !== undefined) return this.#pass
    const now = this.#clock.monotonic()
    if (now < this.#opensUntil) return Math.ceil(this.#opensUntil - now)
    if (this.#pass !== undefined && now < this.#probeUntil)
      return Math.ceil(Math.min(probeRetryMs, this.#probeUntil - now))
    this.#probeUntil = now + longestProbeMs
    this.#pass = this.#newPass()
    return this.#pass
  }

  retire(): void {
    this.#pass = undefined
  }

  rewindow(): void {
    this.#tally = createTally(this.#rule().windowSeconds * 1000)
  }

  /** What it remembers is too old to matter. */
  idle(now: number): boolean {
    return (
      this.#closed &&
      (this.#openings === 0 || now - this.#closedAt >= forgottenAfterMs) &&
      now - this.#usedAt >= this.#rule().windowSeconds * 1000
    )
  }

  status(now: number): Omit<CircuitStatus, "serviceId"> {
    const left = Math.max(0, Math.ceil(this.#opensUntil - now))
    if (this.#closed) {
      this.#tally.advance(now)
      return { state: "closed", failures: this.#tally.faults, retryAfterMs: 0 }
    }
    return { state: left > 0 ? "open" : "half_open", failures: this.#tally.faults, retryAfterMs: left }
  }

  #newPass(): Pass {
    const pass: Pass = {
      settle: (_serviceId, outcome) => {
        if (this.#pass === pass) this.#settle(outcome.kind)
      },
    }
    return pass
  }

  #settle(kind: CallOutcome["kind"]): void {
    const told = kind === "rejected" || kind === "cancelled" ? undefined : kind === "upstream_error"
    if (!this.#closed) return this.#settleProbe(told)
    if (told === undefined) return
    const now = this.#clock.monotonic()
    this.#usedAt = now
    this.#tally.count(now, told)
    if (!told) {
      this.#inARow = 0
      return
    }
    this.#inARow++
    const { consecutive, minCalls, errorRate } = this.#rule()
    const { calls, faults } = this.#tally
    if (this.#inARow >= consecutive || (calls >= minCalls && faults / calls >= errorRate)) this.#open(now)
  }

  #settleProbe(fault: boolean | undefined): void {
    this.#pass = undefined
    if (fault === undefined) return
    const now = this.#clock.monotonic()
    this.#usedAt = now
    if (fault) {
      this.#tally.count(now, true)
      this.#open(now)
      return
    }
    this.#closed = true
    this.#closedAt = now
    this.#inARow = 0
    this.#tally.clear()
    this.#pass = this.#newPass()
  }

  #open(now: number): void {
    if (this.#closed && now - this.#closedAt >= forgottenAfterMs) this.#openings = 0
    this.#openings++
    const openMs = this.#rule().openSeconds * 1000
    this.#opensUntil = now + Math.max(openMs, Math.min(openMs * this.#openings, longestOpenMs))
    this.#closed = false
    this.#pass = undefined
  }
}
