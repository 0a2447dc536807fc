import { GuestFault } from "./fault.ts"
import type { Host, HostFunction } from "./host.ts"

/** Bytes and instants. */
export function byteFunctions(host: Host): Record<string, HostFunction> {
  const { heap } = host
  const index = (at: bigint, length: number) => (at >= 0n && at < BigInt(length) ? Number(at) : undefined)
  const clamp = (value: bigint, high: number) => (value < 0n ? 0 : value > BigInt(high) ? high : Number(value))
  return {
    bytes_new: (size: bigint) => {
      if (size < 0n) throw new GuestFault(`bytes_new: ${size} is not a size`)
      if (size > BigInt(heap.maxBytes)) throw new GuestFault("memory limit: more bytes than the module may use")
      const length = Number(size)
      const at = heap.allocate(length + 4)
      heap.setI32(at, length)
      heap.slice(at + 4, length).fill(0)
      return at
    },
    bytes_length: (at: number) => BigInt(heap.u32(at)),
    bytes_get: (at: number, position: bigint) => {
      const block = heap.block(at)
      const place = index(position, block.length)
      return BigInt(place === undefined ? 0 : (block[place] ?? 0))
    },
    bytes_set: (at: number, position: bigint, value: bigint) => {
      const copy = heap.writeBlock(heap.block(at))
      const block = heap.block(copy)
      const place = index(position, block.length)
      if (place !== undefined) block[place] = Number(BigInt.asUintN(8, value))
      return copy
    },
    bytes_slice: (at: number, start: bigint, length: bigint) => {
      const block = heap.block(at)
      const from = clamp(start, block.length)
      return heap.writeBlock(block.subarray(from, from + clamp(length, block.length - from)))
    },
    bytes_concat: (a: number, b: number) => heap.writeBlock(heap.block(a), heap.block(b)),
    bytes_from_string: (at: number) => heap.writeBlock(heap.block(at)),
    bytes_to_string: (at: number) => heap.writeText(heap.text(at)),
    timestamp_to_string: (at: bigint) => {
      const date = new Date(Number(at))
      if (Number.isNaN(date.getTime())) throw new GuestFault(`timestamp_to_string: ${at} is no date`)
      return heap.writeText(date.toISOString())
    },
    timestamp_to_int: (at: bigint) => at,
    timestamp_from_int: (at: bigint) => at,
    timestamp_parse_iso: (at: number) => {
      const parsed = Date.parse(heap.text(at))
      return Number.isNaN(parsed) ? host.none() : host.some64(BigInt(parsed))
    },
    timestamp_add: (at: bigint, ms: bigint) => BigInt.asIntN(64, at + ms),
    timestamp_diff: (a: bigint, b: bigint) => BigInt.asIntN(64, a - b),
  }
}
