/** The newest items, at most so many and so many bytes; the oldest go first. Adding costs the same however many there are. */
export class Ring<T> {
  readonly #maxItems: number
  readonly #maxBytes: number
  #slots: ({ readonly item: T; readonly bytes: number } | undefined)[] = []
  #first = 0
  #bytes = 0

  constructor(maxItems: number, maxBytes: number) {
    this.#maxItems = maxItems
    this.#maxBytes = maxBytes
  }

  get length(): number {
    return this.#slots.length - this.#first
  }

  get bytes(): number {
    return this.#bytes
  }

  push(item: T, bytes: number): void {
    this.#slots.push({ item, bytes })
    this.#bytes += bytes
    while (this.length > this.#maxItems || (this.#bytes > this.#maxBytes && this.length > 1)) this.#dropOldest()
  }

  /** The nth newest; 0 is the newest. */
  newest(n: number): T | undefined {
    return n < this.length ? this.#slots[this.#slots.length - 1 - n]?.item : undefined
  }

  #dropOldest(): void {
    this.#bytes -= this.#slots[this.#first]?.bytes ?? 0
    this.#slots[this.#first] = undefined
    this.#first++
    // Moving up when half the slots are empty keeps the cost of one addition constant on average.
    if (this.#first < 64 || this.#first * 2 < this.#slots.length) return
    this.#slots = this.#slots.slice(this.#first)
    this.#first = 0
  }
}
