const blockBytes = 1024 * 1024

/** How much was taken; goes back to `giveBack`. */
export interface Mark {
  readonly block: number
  readonly used: number
}

/**
 * Room for bytes that are all given up at the same time, and soon: its blocks are used again, because every fresh block
 * counts towards the next full collection and must be zeroed page by page.
 */
export class ByteRoom {
  readonly #blocks: Buffer[] = []
  #block = 0
  #used = 0

  /** So many bytes, of any content; theirs until they are released. */
  take(bytes: number): Buffer {
    for (;;) {
      const block = (this.#blocks[this.#block] ??= Buffer.allocUnsafeSlow(Math.max(blockBytes, bytes)))
      if (this.#used + bytes <= block.length) return block.subarray(this.#used, (this.#used += bytes))
      this.#block++
      this.#used = 0
    }
  }

  mark(): Mark {
    return { block: this.#block, used: this.#used }
  }

  /** Everything taken since the mark is free again. */
  giveBack({ block, used }: Mark): void {
    if (block > this.#block || (block === this.#block && used > this.#used)) return // released meanwhile
    this.#block = block
    this.#used = used
  }

  /** Everything is free again; blocks that were not needed since the last time go. */
  release(): void {
    this.#blocks.length = Math.min(this.#blocks.length, this.#block + 1)
    this.#block = 0
    this.#used = 0
  }

  /** Bytes held, taken or not. */
  get size(): number {
    return this.#blocks.reduce((sum, block) => sum + block.length, 0)
  }
}
