import type { ClarityType, Field } from "../types.ts"
import { GuestFault, ResultTooLarge } from "./fault.ts"
import type { Heap } from "./heap.ts"
import { layoutOf, payloadOffset, sizeOf, strideOfType } from "./layout.ts"
import type { Lists } from "./lists.ts"
import type { Maps } from "./maps.ts"

/**
 * An argument after validation, in a form that needs no names: whole numbers as number or bigint, Bytes as bytes,
 * a record as its fields in order, a union as [variant index, ...fields], an Option as [] or [value], a Result as
 * [0, ok] or [1, err], a map as pairs.
 */
export type Plain = number | bigint | string | boolean | null | Uint8Array | readonly Plain[]

export type WasmValue = number | bigint | undefined

/** Writes arguments into a guest's memory and reads results out of it. */
export class Values {
  readonly #heap: Heap
  readonly #lists: Lists
  readonly #maps: Maps
  #budget = 0
  #limit = 0

  constructor(heap: Heap, lists: Lists, maps: Maps) {
    this.#heap = heap
    this.#lists = lists
    this.#maps = maps
  }

  /** The wasm value of an argument; blocks it needs are made in the guest's memory. */
  lower(type: ClarityType, value: Plain): WasmValue {
    switch (type.kind) {
      case "Int64":
      case "Timestamp":
        return BigInt(value as number | bigint)
      case "Float64":
        return value as number
      case "Bool":
        return value === true ? 1 : 0
      case "Unit":
        return undefined
      case "String":
        return this.#heap.writeText(value as string)
      case "Bytes":
        return this.#heap.writeBlock(value as Uint8Array)
      case "List": {
        const items = value as readonly Plain[]
        const stride = strideOfType(type.element)
        const list = this.#lists.create(items.length, stride)
        items.forEach((item, index) => this.#store(list + 4 + index * stride, type.element, item))
        return list
      }
      case "Record":
        return this.#fields(this.#heap.allocate(layoutOf(type.fields).size), type.fields, value as readonly Plain[])
      case "Union": {
        const [index, ...fields] = value as readonly [number, ...Plain[]]
        const sizes = type.variants.map((variant) => layoutOf(variant.fields).size)
        const at = this.#tagged(index, Math.max(0, ...sizes))
        this.#fields(at + payloadOffset, type.variants[index]?.fields ?? [], fields)
        return at
      }
      case "Option": {
        const some = value as readonly Plain[]
        const at = this.#tagged(some.length > 0 ? 0 : 1, 8)
        if (some.length > 0) this.#store(at + payloadOffset, type.inner, some[0] ?? null)
        return at
      }
      case "Result": {
        const [tag, inner] = value as readonly [number, Plain]
        const at = this.#tagged(tag, 8)
        this.#store(at + payloadOffset, tag === 0 ? type.ok : type.err, inner)
        return at
      }
      case "Map": {
        const entries = new Map<string | bigint, bigint | number>()
        for (const pair of value as readonly (readonly Plain[])[]) {
          const [key, item] = pair as readonly [string | number | bigint, Plain]
          entries.set(typeof key === "string" ? key : BigInt(key), this.#slot(type.value, item))
        }
        return this.#maps.create(entries)
      }
    }
  }

  #tagged(tag: number, payload: number): number {
    const at = this.#heap.allocate(payloadOffset + payload)
    this.#heap.setI32(at, tag)
    return at
  }

  #fields(at: number, fields: readonly Field[], values: readonly Plain[]): number {
    const { offsets } = layoutOf(fields)
    fields.forEach((field, index) => this.#store(at + (offsets[index] ?? 0), field.type, values[index] ?? null))
    return at
  }

  #store(at: number, type: ClarityType, value: Plain): void {
    const lowered = this.lower(type, value)
    if (type.kind === "Float64") this.#heap.setF64(at, lowered as number)
    else if (typeof lowered === "bigint") this.#heap.setI64(at, lowered)
    else if (lowered !== undefined) this.#heap.setI32(at, lowered)
  }

  /** A map's value: 8-byte values as their bits, others as the address. */
  #slot(type: ClarityType, value: Plain): bigint | number {
    const lowered = this.lower(type, value)
    if (type.kind !== "Float64") return lowered ?? 0
    bits.setFloat64(0, lowered as number)
    return bits.getBigInt64(0)
  }

  /** A result as JSON; throws ResultTooLarge when that takes more than `maxBytes` as JSON text, roughly counted. */
  lift(type: ClarityType, raw: WasmValue, maxBytes: number): unknown {
    this.#budget = maxBytes
    this.#limit = maxBytes
    return this.#lift(type, raw)
  }

  #spend(bytes: number): void {
    this.#budget -= bytes
    if (this.#budget < 0) throw new ResultTooLarge(`the result is larger than the ${this.#limit} bytes allowed`)
  }

  #lift(type: ClarityType, raw: WasmValue): unknown {
    this.#spend(1)
    switch (type.kind) {
      case "Int64":
      case "Timestamp":
        return whole(raw as bigint)
      case "Float64":
        return Number.isFinite(raw as number) ? raw : String(raw)
      case "Bool":
        return raw !== 0
      case "Unit":
        return null
      case "String": {
        this.#spend(this.#heap.u32(raw as number))
        return this.#heap.text(raw as number)
      }
      case "Bytes": {
        const bytes = this.#heap.block(raw as number)
        this.#spend((bytes.length * 4) / 3)
        return bytes.toString("base64")
      }
      case "List": {
        const list = raw as number
        const stride = strideOfType(type.element)
        const count = this.#lists.length(list, stride)
        this.#spend(2 * count)
        const items: unknown[] = []
        for (let index = 0; index < count; index += 1) {
          items.push(this.#load((list >>> 0) + 4 + index * stride, type.element))
        }
        return items
      }
      case "Record":
        return this.#liftFields((raw as number) >>> 0, type.fields)
      case "Union": {
        const at = (raw as number) >>> 0
        const variant = type.variants[this.#tag(at, type.variants.length)]
        if (!variant) return null
        this.#spend(variant.name.length + 4)
        if (variant.fields.length === 0) return variant.name
        return { [variant.name]: this.#liftFields(at + payloadOffset, variant.fields) }
      }
      case "Option": {
        const at = (raw as number) >>> 0
        if (this.#tag(at, 2) === 1) return null
        const some = this.#load(at + payloadOffset, type.inner)
        return type.inner.kind === "Option" || type.inner.kind === "Unit" ? { some } : some
      }
      case "Result": {
        const at = (raw as number) >>> 0
        this.#spend(8)
        return this.#tag(at, 2) === 0
          ? { ok: this.#load(at + payloadOffset, type.ok) }
          : { err: this.#load(at + payloadOffset, type.err) }
      }
      case "Map": {
        const result: Record<string, unknown> = { __proto__: null }
        for (const [key, slot] of this.#maps.entries(raw as number)) {
          const name = String(key)
          this.#spend(name.length + 6)
          result[name] = this.#lift(type.value, this.#unslot(type.value, slot))
        }
        return result
      }
    }
  }

  #tag(at: number, variants: number): number {
    const tag = this.#heap.u32(at)
    if (tag >= variants) throw new GuestFault(`the module gave a value with variant ${tag} of ${variants}`)
    return tag
  }

  #liftFields(at: number, fields: readonly Field[]): Record<string, unknown> {
    const { offsets } = layoutOf(fields)
    const result: Record<string, unknown> = { __proto__: null }
    fields.forEach((field, index) => {
      this.#spend(field.name.length + 6)
      result[field.name] = this.#load(at + (offsets[index] ?? 0), field.type)
    })
    return result
  }

  #load(at: number, type: ClarityType): unknown {
    if (type.kind === "Float64") return this.#lift(type, this.#heap.f64(at))
    const size = sizeOf(type)
    if (size === 0) return this.#lift(type, undefined)
    return this.#lift(type, size === 8 ? this.#heap.i64(at) : this.#heap.i32(at))
  }

  #unslot(type: ClarityType, slot: bigint | number): WasmValue {
    if (type.kind === "Float64") {
      bits.setBigInt64(0, BigInt(slot))
      return bits.getFloat64(0)
    }
    return sizeOf(type) === 8 ? BigInt(slot) : Number(slot)
  }
}

const bits = new DataView(new ArrayBuffer(8))

/** A whole number as JSON can carry it: decimal text beyond ±2^53. */
function whole(value: bigint): number | string {
  const small = value >= -9007199254740991n && value <= 9007199254740991n
  return small ? Number(value) : String(value)
}
