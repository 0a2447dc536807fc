/** Something that waits in the name of a principal. */
export interface Waiting {
  readonly principal: string
  /** Monotonic milliseconds at which it has waited long enough. */
  readonly deadline: number
  /** It has had its place before (a person was asked meanwhile): goes first within its lane and is never displaced. */
  readonly urgent: boolean
}

/** One lane per principal; lanes take turns, so a flood of one principal delays only its own calls. */
export class FairQueue<T extends Waiting> {
  readonly #lanes = new Map<string, T[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  push(waiter: T): void {
    const lane = this.#lanes.get(waiter.principal)
    if (lane === undefined) this.#lanes.set(waiter.principal, [waiter])
    else if (waiter.urgent) lane.splice(lane.findLastIndex((other) => other.urgent) + 1, 0, waiter)
    else lane.push(waiter)
    this.#size++
  }

  /** The next in turn; its lane goes to the end of the round. */
  shift(): T | undefined {
    for (const [principal, lane] of this.#lanes) {
      const waiter = lane.shift()
      this.#lanes.delete(principal)
      if (lane.length > 0) this.#lanes.set(principal, lane)
      this.#size--
      return waiter
    }
    return undefined
  }

  /** False when it is not, or no longer, in the queue. */
  remove(waiter: T): boolean {
    const lane = this.#lanes.get(waiter.principal)
    const index = lane?.indexOf(waiter) ?? -1
    if (lane === undefined || index < 0) return false
    lane.splice(index, 1)
    if (lane.length === 0) this.#lanes.delete(waiter.principal)
    this.#size--
    return true
  }

  /** Makes room for one of `principal` in a full queue: takes out the newest of the longest lane, if that is longer than its own would become. */
  displace(principal: string): T | undefined {
    let longest: T[] = []
    for (const lane of this.#lanes.values()) if (lane.length > longest.length) longest = lane
    const own = this.#lanes.get(principal)?.length ?? 0
    const newest = longest.at(-1)
    if (newest === undefined || newest.urgent || longest.length <= own + 1) return undefined
    this.remove(newest)
    return newest
  }

  /** Everybody who waits, in no particular order. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (const lane of this.#lanes.values()) yield* lane
  }
}
