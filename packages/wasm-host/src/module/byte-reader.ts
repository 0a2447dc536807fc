import { ClarityError } from "@clarity-runtime/contracts"

/** A module that is refused before it is compiled: says what is wrong and what to do. */
export function refusal(message: string, hint: string, data: Record<string, unknown> = {}): ClarityError {
  return new ClarityError("invalid_manifest", message, { data: { reason: message, hint, ...data } })
}

const rebuild = "build the module again with clarityc"

/** Reads one stretch of a module's bytes and never past its end. Throws ClarityError naming the offset. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #end: number
  readonly #where: string
  offset: number

  constructor(bytes: Uint8Array, start: number, end: number, where: string) {
    this.#bytes = bytes
    this.offset = start
    this.#end = end
    this.#where = where
  }

  get done(): boolean {
    return this.offset >= this.#end
  }

  get end(): number {
    return this.#end
  }

  byte(): number {
    const value = this.offset < this.#end ? this.#bytes[this.offset] : undefined
    if (value === undefined) throw this.fail("it is cut short")
    this.offset += 1
    return value
  }

  /** An unsigned LEB128 number of at most 32 bits. */
  u32(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (value > 0xffff_ffff) break
        return value
      }
    }
    throw this.fail("a number is too long")
  }

  /** A signed LEB128 number of at most `bits` bits. */
  signed(bits: 32 | 64): bigint {
    let value = 0n
    for (let shift = 0n; shift < BigInt(bits + 6); shift += 7n) {
      const byte = this.byte()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value)
    }
    throw this.fail("a number is too long")
  }

  skip(count: number): void {
    if (count > this.#end - this.offset) throw this.fail(`it is cut short: ${count} more bytes were promised`)
    this.offset += count
  }

  name(): string {
    const length = this.u32()
    const start = this.offset
    if (length > 4096) throw this.fail("a name is longer than 4096 bytes")
    this.skip(length)
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
        this.#bytes.subarray(start, start + length),
      )
    } catch (cause) {
      throw this.fail("a name is not UTF-8", cause)
    }
  }

  /** A count of things that take at least one byte each. */
  count(what: string, limit: number): number {
    const count = this.u32()
    if (count > limit) throw this.fail(`it has ${count} ${what}, more than the ${limit} allowed`)
    if (count > this.#end - this.offset) throw this.fail(`it is cut short: ${count} ${what} were promised`)
    return count
  }

  fail(problem: string, cause?: unknown): ClarityError {
    const error = refusal(`not a usable WebAssembly module: ${this.#where}, byte ${this.offset}: ${problem}`, rebuild)
    if (cause !== undefined) error.cause = cause
    return error
  }
}
