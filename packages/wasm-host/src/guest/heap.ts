import { GuestFault } from "./fault.ts"
import { checkText } from "./host-bounds.ts"
import type { WasmMemory } from "./webassembly.ts"

const page = 65_536
const emptyBytes = Buffer.alloc(0)

/**
 * The memory of one instance and the heap the host keeps in it, from `__heap_base` up. Every address that comes from the
 * module is checked here before a byte is read or written; a bad one is a GuestFault.
 */
export class Heap {
  #memory: WasmMemory | undefined
  #buffer: ArrayBuffer | undefined
  #bytes: Buffer = emptyBytes
  #view: DataView = new DataView(new ArrayBuffer(0))
  #base = 0
  #top = 0
  #maxBytes = 0
  #allocations = 0

  /** Takes over a fresh instance's memory. */
  attach(memory: WasmMemory | undefined, base: number, maxBytes: number): void {
    this.#memory = memory
    this.#base = base
    this.#top = base
    this.#maxBytes = maxBytes
    this.#allocations = 0
    this.#buffer = undefined
    this.#sync()
    if (base > this.#bytes.length) throw new GuestFault("the module's __heap_base lies outside its memory")
  }

  /** Lets go of the instance, so that its memory can be freed. */
  detach(): void {
    this.#memory = undefined
    this.#buffer = undefined
    this.#bytes = emptyBytes
    this.#view = new DataView(new ArrayBuffer(0))
  }

  /** Takes new views of the memory. Growing it empties the old ones, so nothing is ever read through them. */
  #sync(): void {
    const buffer = this.#memory?.buffer
    this.#buffer = buffer
    this.#bytes = buffer ? Buffer.from(buffer) : emptyBytes
    this.#view = buffer ? new DataView(buffer) : new DataView(new ArrayBuffer(0))
  }

  get top(): number {
    return this.#top
  }

  get maxBytes(): number {
    return this.#maxBytes
  }

  get stats(): { heap_ptr: number; live_allocs: number; free_blocks: number; interned_strings: number } {
    return { heap_ptr: this.#top, live_allocs: this.#allocations, free_blocks: 0, interned_strings: 0 }
  }

  /** A new block of at least `size` bytes, 8-aligned, growing the memory when needed. */
  allocate(size: number): number {
    const wanted = size <= 0 ? 1 : size
    const start = Math.ceil(this.#top / 8) * 8
    const end = start + wanted
    if (end > this.#bytes.length) this.#grow(end)
    this.#top = end
    this.#allocations += 1
    return start
  }

  #grow(end: number): void {
    this.#sync()
    if (end <= this.#bytes.length) return
    if (end > this.#maxBytes || !this.#memory) throw this.#full()
    const missing = Math.ceil((end - this.#bytes.length) / page)
    const room = Math.floor((this.#maxBytes - this.#bytes.length) / page)
    // Growing by half as much again keeps the number of times small; never past what the module declared.
    const extra = Math.min(room, Math.max(missing, Math.ceil(this.#bytes.length / page / 2)))
    if (missing > room) throw this.#full()
    try {
      this.#memory.grow(extra)
    } catch {
      throw this.#full()
    }
    this.#sync()
  }

  #full(): GuestFault {
    return new GuestFault(`memory limit: the module may use ${Math.floor(this.#maxBytes / 1024)} KiB in one call`)
  }

  /** Puts the top back to an earlier mark; a mark that is not below it changes nothing. */
  restore(mark: bigint): void {
    if (mark >= BigInt(this.#base) && mark < BigInt(this.#top)) this.#top = Number(mark)
  }

  /**
   * The address as an offset of `length` readable bytes. Always before the views are named: when the module has grown
   * its memory since, they are empty until this renews them.
   */
  #check(address: number, length: number): number {
    const start = address >>> 0
    if (length > this.#bytes.length - start) this.#sync()
    if (length > this.#bytes.length - start) {
      throw new GuestFault(`the module gave the address ${start}, which is outside its memory`)
    }
    return start
  }

  u32(address: number): number {
    const at = this.#check(address, 4)
    return this.#view.getUint32(at, true)
  }

  i32(address: number): number {
    const at = this.#check(address, 4)
    return this.#view.getInt32(at, true)
  }

  i64(address: number): bigint {
    const at = this.#check(address, 8)
    return this.#view.getBigInt64(at, true)
  }

  f64(address: number): number {
    const at = this.#check(address, 8)
    return this.#view.getFloat64(at, true)
  }

  setI32(address: number, value: number): void {
    const at = this.#check(address, 4)
    this.#view.setInt32(at, value, true)
  }

  setI64(address: number, value: bigint): void {
    const at = this.#check(address, 8)
    this.#view.setBigInt64(at, value, true)
  }

  setF64(address: number, value: number): void {
    const at = this.#check(address, 8)
    this.#view.setFloat64(at, value, true)
  }

  /** The bytes of a text or Bytes block: a view, good until the next allocation. */
  block(address: number): Buffer {
    const length = this.u32(address)
    const start = this.#check((address >>> 0) + 4, length)
    return this.#bytes.subarray(start, start + length)
  }

  /** Bytes at an address: a view, good until the next allocation. */
  slice(address: number, length: number): Buffer {
    const start = this.#check(address, length)
    return this.#bytes.subarray(start, start + length)
  }

  text(address: number): string {
    const length = this.u32(address)
    checkText(length)
    const start = this.#check((address >>> 0) + 4, length)
    return this.#bytes.toString("utf8", start, start + length)
  }

  writeText(text: string): number {
    const length = Buffer.byteLength(text)
    const address = this.allocate(length + 4)
    this.#view.setUint32(address, length, true)
    this.#bytes.write(text, address + 4, length, "utf8")
    return address
  }

  /** A copy of these bytes as a text or Bytes block. They may lie in this very memory. */
  writeBlock(...parts: readonly Uint8Array[]): number {
    const own = parts.map((part) => (part.buffer === this.#buffer ? { at: part.byteOffset, size: part.length } : part))
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const address = this.allocate(length + 4)
    this.#view.setUint32(address, length, true)
    let at = address + 4
    for (const part of own) {
      if (part instanceof Uint8Array) {
        this.#bytes.set(part, at)
        at += part.length
      } else {
        this.#bytes.copyWithin(at, part.at, part.at + part.size)
        at += part.size
      }
    }
    return address
  }
}
