/** A thing kept in `Slots`; the place is theirs to write. */
export interface Slotted {
  slot: number
}

/**
 * What is under way at the moment, added and removed with every call. A Set would do, but V8 links each table that a Set
 * has outgrown or thinned out to its successor: under load the old ones keep whatever they held alive until a full
 * collection, and every call would pay for carrying that along.
 */
export class Slots<T extends Slotted> {
  readonly #items: (T | undefined)[] = []
  readonly #free: number[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  add(item: T): void {
    item.slot = this.#free.pop() ?? this.#items.length
    this.#items[item.slot] = item
    this.#size++
  }

  /** False when it is not here. */
  delete(item: T): boolean {
    if (this.#items[item.slot] !== item) return false
    this.#items[item.slot] = undefined
    this.#free.push(item.slot)
    this.#size--
    return true
  }

  /** In no particular order; items may be added and deleted meanwhile. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let i = 0; i < this.#items.length; i++) {
      const item = this.#items[i]
      if (item !== undefined) yield item
    }
  }
}
