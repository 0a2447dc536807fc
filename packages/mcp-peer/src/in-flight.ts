import type { Exchange } from "./exchange.ts"

/**
 * The exchanges under way on one connection, by id. A table of fixed places and not a Map: V8 links each table that a
 * Map has outgrown to the next, and under load the old ones keep every exchange alive until a full collection.
 */
export class InFlight {
  #table: (Exchange | undefined)[] = Array.from({ length: 64 })
  #size = 0
  #lastId = 0

  /** A new id, higher than all before, whose place is free. */
  nextId(): number {
    if (this.#size * 2 >= this.#table.length) this.#grow()
    do this.#lastId++
    while (this.#table[this.#lastId % this.#table.length] !== undefined)
    return this.#lastId
  }

  /** Takes in an exchange whose id came from `nextId`. */
  add(exchange: Exchange): void {
    this.#table[exchange.id % this.#table.length] = exchange
    this.#size++
  }

  get(id: number): Exchange | undefined {
    const found = this.#table[id % this.#table.length]
    return found?.id === id ? found : undefined
  }

  delete(id: number): void {
    if (this.get(id) === undefined) return
    this.#table[id % this.#table.length] = undefined
    this.#size--
  }

  /** All of them, oldest first. */
  values(): Exchange[] {
    return this.#table.filter((exchange) => exchange !== undefined).sort((a, b) => a.id - b.id)
  }

  /** Two ids that have places of their own in a table have them in its double too. */
  #grow(): void {
    const all = this.values()
    this.#table = Array.from({ length: this.#table.length * 2 })
    for (const exchange of all) this.#table[exchange.id % this.#table.length] = exchange
  }
}
