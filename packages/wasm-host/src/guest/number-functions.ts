import { GuestFault } from "./fault.ts"
import type { Host, HostFunction } from "./host.ts"

const smallest = -(2n ** 63n)
const largest = 2n ** 63n - 1n

/** Conversion and arithmetic. */
export function numberFunctions(host: Host): Record<string, HostFunction> {
  const { heap } = host
  return {
    int_to_float: (value: bigint) => Number(value),
    float_to_int: (value: number) => {
      if (!Number.isFinite(value)) throw new GuestFault(`float_to_int: ${value} has no whole-number form`)
      return BigInt.asIntN(64, BigInt(Math.trunc(value)))
    },
    int_to_string: (value: bigint) => heap.writeText(String(value)),
    float_to_string: (value: number) => heap.writeText(String(value)),
    string_to_int: (at: number) => {
      const text = heap.text(at).trim()
      // Longer ones are outside Int64 anyway, and cost time to convert.
      if (!/^-?[0-9]{1,64}$/.test(text)) return host.none()
      const value = BigInt(text)
      return value < smallest || value > largest ? host.none() : host.some64(value)
    },
    string_to_float: (at: number) => {
      const text = heap.text(at).trim()
      const value = text === "" ? Number.NaN : Number(text)
      return Number.isNaN(value) ? host.none() : host.someF64(value)
    },
    abs_int: (value: bigint) => BigInt.asIntN(64, value < 0n ? -value : value),
    min_int: (a: bigint, b: bigint) => (a < b ? a : b),
    max_int: (a: bigint, b: bigint) => (a > b ? a : b),
    int_clamp: (value: bigint, low: bigint, high: bigint) => (value < low ? low : value > high ? high : value),
    float_clamp: (value: number, low: number, high: number) => (value < low ? low : value > high ? high : value),
    sqrt: Math.sqrt,
    pow: Math.pow,
    floor: Math.floor,
    ceil: Math.ceil,
    log: Math.log,
    log2: Math.log2,
    log10: Math.log10,
    exp: Math.exp,
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    atan2: Math.atan2,
    f64_rem: (a: number, b: number) => a % b,
    cosine_similarity: (a: number, b: number) => cosine(vector(heap.text(a)), vector(heap.text(b))),
  }
}

function vector(text: string): readonly number[] | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return Array.isArray(parsed) && parsed.every((item) => typeof item === "number") ? parsed : undefined
  } catch {
    return undefined
  }
}

function cosine(a: readonly number[] | undefined, b: readonly number[] | undefined): number {
  if (!a || !b || a.length !== b.length) return 0
  let dot = 0
  let left = 0
  let right = 0
  a.forEach((value, index) => {
    const other = b[index] ?? 0
    dot += value * other
    left += value * value
    right += other * other
  })
  return left === 0 || right === 0 ? 0 : dot / (Math.sqrt(left) * Math.sqrt(right))
}
