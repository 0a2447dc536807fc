/** Items waiting in lanes; taken in turn, one lane after the other, so that no lane keeps the others waiting. */
export class FairQueue<T> {
  readonly #lanes = new Map<number, T[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The first item of each lane. */
  firsts(): T[] {
    return [...this.#lanes.values()].map((items) => items[0] as T)
  }

  push(lane: number, item: T): void {
    const items = this.#lanes.get(lane)
    if (items) items.push(item)
    else this.#lanes.set(lane, [item])
    this.#size += 1
  }

  /** Puts items back where they were taken from, before what waits there. */
  putBack(lane: number, items: readonly T[]): void {
    this.#lanes.set(lane, [...items, ...(this.#lanes.get(lane) ?? [])])
    this.#size += items.length
  }

  remove(lane: number, item: T): boolean {
    const items = this.#lanes.get(lane) ?? []
    const index = items.indexOf(item)
    if (index < 0) return false
    items.splice(index, 1)
    if (items.length === 0) this.#lanes.delete(lane)
    this.#size -= 1
    return true
  }

  /** Gives the first item of each lane in turn to `place` until it has taken none for a whole round. */
  drain(place: (item: T) => boolean): void {
    let refused = 0
    while (this.#size > 0 && refused < this.#lanes.size) {
      const [lane, items] = this.#lanes.entries().next().value as [number, T[]]
      this.#lanes.delete(lane)
      const first = items[0] as T
      if (place(first)) {
        items.shift()
        this.#size -= 1
        refused = 0
      } else refused += 1
      if (items.length > 0) this.#lanes.set(lane, items)
    }
  }
}
