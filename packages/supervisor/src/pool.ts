import { asClarityError, ClarityError, type Clock, type Lease } from "@clarity-runtime/contracts"
import { backoffMs } from "./backoff.ts"
import { raced } from "./deadline.ts"
import type { Instance, InstanceKey } from "./instances.ts"
import type { Bounds } from "./options.ts"

export interface PoolParts {
  readonly clock: Clock
  readonly random: () => number
  readonly bounds: Bounds
  /** Opens one; ends by itself after the start deadline. */
  readonly open: (key: InstanceKey) => Promise<Instance>
  /** Ends an unused one to make room. */
  readonly retire: (instance: Instance) => void
  readonly full: (count: number) => ClarityError
}

interface Place {
  instance?: Instance
  opening?: Promise<Instance>
  /** Its generation is over: whatever comes of the opening is not remembered. */
  stale?: boolean
  failure?: { readonly error: ClarityError; readonly inARow: number; readonly dueAt: number }
}

/** The instances of one service that belong to one principal or session each. Opened by the first call, one opening per key. */
export class Pool {
  readonly #parts: PoolParts
  readonly #places = new Map<string, Place>()

  constructor(parts: PoolParts) {
    this.#parts = parts
  }

  instances(): Instance[] {
    return [...this.#places.values()].flatMap((place) => place.instance ?? [])
  }

  /** Open or opening. */
  get size(): number {
    let count = 0
    for (const place of this.#places.values()) if (place.instance ?? place.opening) count += 1
    return count
  }

  /** Throws what opening threw; right after a failure it throws the same again instead of trying. */
  async acquire(key: InstanceKey, signal: AbortSignal, tries = 3): Promise<Lease> {
    const place = this.#places.get(key.place)
    if (place?.instance?.usable) return place.instance.lease()
    const instance = await raced(place?.opening ?? this.#open(key, place), signal)
    if (instance.usable) return instance.lease()
    // It was retired between its opening and this call's turn: its generation is over, or it died at once.
    if (tries <= 1) throw new ClarityError("unavailable", "its instances end as soon as they are opened")
    return this.acquire(key, signal, tries - 1)
  }

  #open(key: InstanceKey, before: Place | undefined): Promise<Instance> {
    const { clock, bounds, random } = this.#parts
    if (before?.failure !== undefined && clock.monotonic() < before.failure.dueAt)
      return Promise.reject(before.failure.error)
    if (before?.instance === undefined) this.#makeRoom()
    const place: Place = before?.failure === undefined ? {} : { failure: before.failure }
    const opening = this.#parts.open(key).then(
      (instance) => {
        delete place.opening
        delete place.failure
        place.instance = instance
        instance.over.addEventListener("abort", () => this.#leave(key.place, place), { once: true })
        if (!instance.usable) this.#leave(key.place, place)
        return instance
      },
      (thrown: unknown) => {
        delete place.opening
        const error = asClarityError(thrown)
        if (place.stale === true) {
          this.#leave(key.place, place)
          throw error
        }
        const inARow = (place.failure?.inARow ?? 0) + 1
        place.failure = { error, inARow, dueAt: clock.monotonic() + backoffMs(inARow, bounds, random) }
        this.#forgetFailures()
        throw error
      },
    )
    place.opening = opening
    this.#places.set(key.place, place)
    return opening
  }

  /** Throws when there is no room and nothing unused. */
  #makeRoom(): void {
    const { bounds, full } = this.#parts
    if (this.size < bounds.maxInstances) return
    const unused = this.instances()
      .filter((instance) => instance.leases === 0)
      .sort((a, b) => a.usedAt - b.usedAt)
    if (unused[0] === undefined) throw full(this.size)
    this.#parts.retire(unused[0])
  }

  #leave(name: string, place: Place): void {
    if (this.#places.get(name) === place) this.#places.delete(name)
  }

  /** Remembered failures are bounded, or strangers' sessions would fill the memory. */
  #forgetFailures(): void {
    const failed = [...this.#places].filter(([, place]) => place.instance === undefined && place.opening === undefined)
    const now = this.#parts.clock.monotonic()
    for (const [name, place] of failed)
      if (failed.length > 64 || (place.failure?.dueAt ?? 0) < now - 60_000) this.#places.delete(name)
  }

  /** No remembered failure holds up the next use. Openings under way go on. */
  forget(): void {
    for (const [name, place] of this.#places) {
      if (place.opening !== undefined) place.stale = true
      else if (!place.instance?.usable) this.#places.delete(name)
    }
  }
}
