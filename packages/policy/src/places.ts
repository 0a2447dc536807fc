import {
  abortError,
  ClarityError,
  type Admission,
  type CallLimits,
  type CallOutcome,
  type Clock,
  type Permit,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import { FairQueue, type Waiting } from "./fair-queue.ts"
import type { InFlightBounds, ServiceBounds } from "./limits.ts"

/** Calls under way and waiting, right now. */
export interface PolicyLoad {
  /** Calls that hold a place at their service. */
  readonly active: number
  /** Calls that wait for one. */
  readonly waiting: number
  /** Services and principals with a call under way or waiting: all that is remembered. */
  readonly services: number
  readonly principals: number
}

/** Told how a call that got its place ended, exactly once. */
export interface Books {
  settle(serviceId: string, outcome: CallOutcome): void
}

interface Waiter extends Waiting {
  readonly service: ServiceDefinition
  /** Ends the wait: with a place, or with the reason there is none. */
  readonly end: (refusal: ClarityError | undefined) => void
}

/** The places of one service. Kept only while somebody holds or awaits one, then handed to the next service. */
class Gate {
  service = ""
  active = 0
  max = 1
  sweeping = false
  readonly queue = new FairQueue<Waiter>()
}

const spareGates = 64
const retryAfterMs = 1000

/** Gives out places at services, and counts what everybody has under way. Nothing here grows with history. */
export class Places {
  #bounds: InFlightBounds
  readonly #clock: Clock
  readonly #gates = new Map<string, Gate>()
  readonly #spare: Gate[] = []
  readonly #underWay = new Map<string, number>()
  #total = 0

  constructor(bounds: InFlightBounds, clock: Clock) {
    this.#bounds = bounds
    this.#clock = clock
  }

  /** Other bounds from now on; what is under way keeps its places. */
  rebound(bounds: InFlightBounds): void {
    this.#bounds = bounds
  }

  /** A permit at once when a place is free; otherwise the call waits its turn, or is told why it cannot. */
  take(
    principal: string,
    service: ServiceDefinition,
    rules: ServiceBounds,
    signal: AbortSignal,
    books?: Books,
    granted = false,
  ): Admission | Promise<Admission> {
    const permit = new PlacePermit(this, principal, service, rules, books, granted)
    const wait = this.claim(permit, signal, false)
    if (wait === undefined) return permit
    if (wait instanceof ClarityError) return { kind: "deny", error: wait }
    return wait.then((refusal) => (refusal === undefined ? permit : { kind: "deny", error: refusal }))
  }

  /** Nothing when the permit holds a place now, else the reason it gets none, at once or after waiting. */
  claim(
    permit: PlacePermit,
    signal: AbortSignal,
    urgent: boolean,
  ): undefined | ClarityError | Promise<ClarityError | undefined> {
    const { principal, rules, service } = permit
    const refusal = this.#enter(principal)
    if (refusal !== undefined) return refusal
    const gate = this.#gate(service.id, rules.maxConcurrency)
    if (gate.active < gate.max) {
      gate.active++
      permit.gate = gate
      return undefined
    }
    if (!urgent && gate.queue.size >= this.#bounds.queueLength && !this.#displace(gate, principal)) {
      this.#leave(principal)
      return busy(service, gate, `and ${gate.queue.size} calls are waiting`)
    }
    return new Promise((resolve) => {
      const deadline = this.#clock.monotonic() + this.#bounds.queueMs
      const end = (refusal: ClarityError | undefined) => {
        signal.removeEventListener("abort", giveUp)
        permit.abandon = undefined
        if (refusal === undefined) permit.gate = gate
        else this.#leave(principal)
        resolve(refusal)
      }
      const waiter: Waiter = { principal, service, deadline, urgent, end }
      const giveUp = () => {
        if (!gate.queue.remove(waiter)) return
        end(abortError(signal))
        this.#retire(gate)
      }
      permit.abandon = giveUp
      signal.addEventListener("abort", giveUp)
      gate.queue.push(waiter)
      if (!gate.sweeping) void this.#sweep(gate)
    })
  }

  /** Gives a place back; whoever is next in turn has it before anybody new can ask. */
  release(principal: string, gate: Gate): void {
    this.#leave(principal)
    gate.active--
    this.#admitWaiting(gate)
    this.#retire(gate)
  }

  load(): PolicyLoad {
    let active = 0
    let waiting = 0
    for (const gate of this.#gates.values()) {
      active += gate.active
      waiting += gate.queue.size
    }
    return { active, waiting, services: this.#gates.size, principals: this.#underWay.size }
  }

  #enter(principal: string): ClarityError | undefined {
    const { perPrincipal, total } = this.#bounds
    const own = this.#underWay.get(principal) ?? 0
    if (own >= perPrincipal) {
      return new ClarityError("rate_limited", `too many calls of ${principal} in flight (${own}/${perPrincipal})`, {
        data: { reason: "principal_concurrency", retryAfterMs },
      })
    }
    if (this.#total >= total) {
      return new ClarityError("unavailable", `too many calls in flight (${this.#total}/${total})`, {
        data: { reason: "total_concurrency", retryAfterMs },
      })
    }
    this.#underWay.set(principal, own + 1)
    this.#total++
    return undefined
  }

  #leave(principal: string): void {
    const own = this.#underWay.get(principal) ?? 0
    if (own <= 1) this.#underWay.delete(principal)
    else this.#underWay.set(principal, own - 1)
    this.#total--
  }

  #gate(service: string, max: number): Gate {
    let gate = this.#gates.get(service)
    if (gate === undefined) {
      gate = this.#spare.pop() ?? new Gate()
      gate.service = service
      gate.max = max
      this.#gates.set(service, gate)
    } else if (gate.max !== max) {
      gate.max = max
      this.#admitWaiting(gate)
    }
    return gate
  }

  #admitWaiting(gate: Gate): void {
    while (gate.active < gate.max) {
      const next = gate.queue.shift()
      if (next === undefined) return
      gate.active++
      next.end(undefined)
    }
  }

  #retire(gate: Gate): void {
    if (gate.active > 0 || gate.queue.size > 0) return
    this.#gates.delete(gate.service)
    if (this.#spare.length < spareGates) this.#spare.push(gate)
  }

  #displace(gate: Gate, principal: string): boolean {
    const displaced = gate.queue.displace(principal)
    displaced?.end(busy(displaced.service, gate, "and others have waited for fewer calls"))
    return displaced !== undefined
  }

  /** One timer per crowded service, not one per waiting call: they all wait equally long. */
  async #sweep(gate: Gate): Promise<void> {
    gate.sweeping = true
    while (gate.queue.size > 0) {
      const now = this.#clock.monotonic()
      let next = Number.POSITIVE_INFINITY
      for (const waiter of Array.from(gate.queue)) {
        if (waiter.deadline > now) next = Math.min(next, waiter.deadline)
        else if (gate.queue.remove(waiter))
          waiter.end(busy(waiter.service, gate, `no place within ${this.#bounds.queueMs} ms`))
      }
      if (next !== Number.POSITIVE_INFINITY) await this.#clock.sleep(next - now)
    }
    gate.sweeping = false
  }
}

/** A permit that is its own admission: on the way of a call it is the only thing made. */
class PlacePermit implements Permit {
  readonly principal: string
  readonly service: ServiceDefinition
  readonly rules: ServiceBounds
  readonly granted: boolean
  /** Where the place is held; undefined while there is none. */
  gate: Gate | undefined
  /** Ends a wait for a place. */
  abandon: (() => void) | undefined
  readonly #places: Places
  readonly #books: Books | undefined
  #over = false

  constructor(
    places: Places,
    principal: string,
    service: ServiceDefinition,
    rules: ServiceBounds,
    books: Books | undefined,
    granted: boolean,
  ) {
    this.#places = places
    this.#books = books
    this.granted = granted
    this.principal = principal
    this.service = service
    this.rules = rules
    this.gate = undefined
    this.abandon = undefined
  }

  get kind(): "permit" {
    return "permit"
  }

  get permit(): Permit {
    return this
  }

  get limits(): CallLimits {
    return this.rules.limits
  }

  settle(outcome: CallOutcome): void {
    if (this.#over) return
    this.#over = true
    this.suspend()
    this.#books?.settle(this.service.id, outcome)
  }

  suspend(): void {
    this.abandon?.()
    const { gate } = this
    if (gate === undefined) return
    this.gate = undefined
    this.#places.release(this.principal, gate)
  }

  async resume(signal: AbortSignal): Promise<void> {
    if (this.#over) throw new ClarityError("cancelled", "the call is over")
    if (signal.aborted) throw abortError(signal)
    if (this.gate !== undefined || this.abandon !== undefined) return
    const refusal = await this.#places.claim(this, signal, true)
    if (refusal !== undefined) throw refusal
  }
}

function busy(service: ServiceDefinition, gate: Gate, detail: string): ClarityError {
  const text = `concurrency limit of ${service.namespace} reached (${gate.active}/${gate.max}), ${detail}`
  return new ClarityError("rate_limited", text, {
    data: { service: service.namespace, reason: "service_concurrency", retryAfterMs },
  })
}
