import { GuestFault } from "./fault.ts"
import type { Heap } from "./heap.ts"

/** Lists in guest memory: a count, then elements of 4 or 8 bytes without padding. Immutable: changes are copies. */
export class Lists {
  readonly #heap: Heap

  constructor(heap: Heap) {
    this.#heap = heap
  }

  /** The element count, all elements being inside the memory. */
  length(list: number, stride: number): number {
    const count = this.#heap.u32(list)
    this.#heap.slice((list >>> 0) + 4, count * stride)
    return count
  }

  /** Address of element i, or undefined when there is none. */
  element(list: number, index: bigint, stride: number): number | undefined {
    const count = this.#heap.u32(list)
    if (index < 0n || index >= BigInt(count)) return undefined
    return (list >>> 0) + 4 + Number(index) * stride
  }

  /** A new list with room for `count` elements, its count written. */
  create(count: number, stride: number): number {
    const list = this.#heap.allocate(4 + count * stride)
    this.#heap.setI32(list, count)
    return list
  }

  /** A copy of elements [from, to) with `room` more places behind them. */
  copy(list: number, from: number, to: number, stride: number, room: number): number {
    this.#heap.slice((list >>> 0) + 4, to * stride)
    const target = this.create(to - from + room, stride)
    const source = this.#heap.slice((list >>> 0) + 4 + from * stride, (to - from) * stride)
    this.#heap.slice(target + 4, source.length).set(source)
    return target
  }

  concat(a: number, b: number, stride: number): number {
    const first = this.length(a, stride)
    const second = this.length(b, stride)
    const target = this.copy(a, 0, first, stride, second)
    const source = this.#heap.slice((b >>> 0) + 4, second * stride)
    this.#heap.slice(target + 4 + first * stride, source.length).set(source)
    return target
  }

  reverse(list: number, stride: number): number {
    const count = this.length(list, stride)
    const target = this.create(count, stride)
    const source = this.#heap.slice((list >>> 0) + 4, count * stride)
    const out = this.#heap.slice(target + 4, count * stride)
    for (let index = 0; index < count; index += 1) {
      out.set(source.subarray(index * stride, (index + 1) * stride), (count - 1 - index) * stride)
    }
    return target
  }

  ofTexts(texts: readonly string[]): number {
    const list = this.create(texts.length, 4)
    texts.forEach((text, index) => {
      this.#heap.setI32(list + 4 + index * 4, this.#heap.writeText(text))
    })
    return list
  }
}

/** An element size as the module says it: 4 or 8. */
export function strideOf(size: number): 4 | 8 {
  if (size === 4 || size === 8) return size
  throw new GuestFault(`the module gave ${size} as the size of a list element`)
}
