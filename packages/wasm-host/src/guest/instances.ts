import type { Program } from "./protocol.ts"
import { webAssembly, type WasmImports, type WasmInstance, type WasmMemory } from "./webassembly.ts"

/** An instance and what is needed to make it new again. */
export interface Lent {
  readonly instance: WasmInstance
  readonly memory: WasmMemory | undefined
  /** The memory it was made with, and a copy of that as it was; absent when the instance is used once only. */
  readonly fresh: { readonly buffer: ArrayBuffer; readonly image: Uint8Array } | undefined
}

/** Copying a larger memory back costs more than a new instance. */
const maxImageBytes = 4 * 65_536

/**
 * Lends instances that are as good as new. A program whose memory is its only state (`resettable`) gets the same
 * instance again, its memory put back byte for byte; any other program, one that grew its memory and one that failed
 * get a new instance.
 */
export class Instances {
  readonly #imports: WasmImports
  readonly #kept = new WeakMap<Program, Lent>()

  constructor(imports: WasmImports) {
    this.#imports = imports
  }

  /** An instance in the state it is made in. Throws what instantiating throws. */
  take(program: Program): Lent {
    const kept = this.#kept.get(program)
    if (kept) {
      this.#kept.delete(program)
      return kept
    }
    return this.make(program)
  }

  /** A new instance, whatever is kept. */
  make(program: Program): Lent {
    const instance = new webAssembly.Instance(program.module, { env: this.#imports })
    const exported = instance.exports["memory"]
    const memory = exported instanceof webAssembly.Memory ? exported : undefined
    const buffer = memory?.buffer
    const again = program.resettable && buffer !== undefined && buffer.byteLength <= maxImageBytes
    return { instance, memory, fresh: again ? { buffer, image: new Uint8Array(buffer.slice(0)) } : undefined }
  }

  /** Gives back an instance whose call ended well. */
  giveBack(program: Program, lent: Lent): void {
    const { fresh, memory } = lent
    if (!fresh || memory?.buffer !== fresh.buffer) return
    new Uint8Array(fresh.buffer).set(fresh.image)
    this.#kept.set(program, lent)
  }
}
