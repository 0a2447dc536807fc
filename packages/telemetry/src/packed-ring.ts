/** The largest record somebody may push, with room to spare. */
const minBytes = 65_536

/**
 * The newest records, at most so many and so many bytes, kept as JSON text in one block of memory: however many calls
 * are remembered, the garbage collector has nothing to carry along for them. Reading one parses it again.
 */
export class PackedRing<T> {
  readonly #maxItems: number
  readonly #capacity: number
  readonly #starts: Uint32Array
  readonly #lengths: Uint32Array
  #block: Buffer | undefined
  /** Counts records ever pushed; slots are taken modulo `maxItems`. */
  #next = 0
  #first = 0
  #write = 0

  constructor(maxItems: number, maxBytes: number) {
    this.#maxItems = maxItems
    this.#capacity = Math.max(minBytes, Math.floor(maxBytes))
    this.#starts = new Uint32Array(maxItems)
    this.#lengths = new Uint32Array(maxItems)
  }

  get length(): number {
    return this.#next - this.#first
  }

  /** Returns the item's JSON. One larger than the whole block is not kept. */
  push(item: T): string {
    const text = JSON.stringify(item)
    const length = Buffer.byteLength(text)
    if (length > this.#capacity) return text
    const block = (this.#block ??= Buffer.allocUnsafeSlow(this.#capacity))
    if (this.length === this.#maxItems) this.#first++
    if (this.#write + length > this.#capacity) {
      // What lies behind the end of the last record is the oldest there is; it goes, and writing begins anew.
      while (this.length > 0 && this.#oldest() >= this.#write) this.#first++
      this.#write = 0
    }
    while (this.length > 0 && this.#oldest() >= this.#write && this.#oldest() < this.#write + length) this.#first++
    block.write(text, this.#write, length, "utf8")
    const slot = this.#next % this.#maxItems
    this.#starts[slot] = this.#write
    this.#lengths[slot] = length
    this.#write += length
    this.#next++
    return text
  }

  /** The nth newest; 0 is the newest. */
  newest(n: number): T | undefined {
    if (n >= this.length || this.#block === undefined) return undefined
    const slot = (this.#next - 1 - n) % this.#maxItems
    const start = this.#starts[slot] as number
    return JSON.parse(this.#block.toString("utf8", start, start + (this.#lengths[slot] as number))) as T
  }

  #oldest(): number {
    return this.#starts[this.#first % this.#maxItems] as number
  }
}
