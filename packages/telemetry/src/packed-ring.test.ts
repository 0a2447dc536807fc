import { array, assert, integer, property } from "fast-check"
import { describe, expect, it } from "vitest"
import { PackedRing } from "./packed-ring.ts"

const all = <T>(ring: PackedRing<T>) => Array.from({ length: ring.length }, (_, i) => ring.newest(i))

describe("a packed ring", () => {
  it("gives back the newest first, as they were", () => {
    const ring = new PackedRing<unknown>(3, 1)
    for (const item of [{ a: 1 }, "grün ✓", [null], { b: { c: "😀" } }]) ring.push(item)
    expect(all(ring)).toEqual([{ b: { c: "😀" } }, [null], "grün ✓"])
    expect(ring.newest(3)).toBeUndefined()
  })

  it("holds its bounds and loses only the oldest, whatever comes", () => {
    assert(
      property(
        integer({ min: 1, max: 40 }),
        array(integer({ min: 0, max: 20_000 }), { maxLength: 200 }),
        (maxItems, sizes) => {
          const ring = new PackedRing<{ n: number; pad: string }>(maxItems, 1)
          sizes.forEach((size, n) => ring.push({ n, pad: "ä".repeat(size) }))
          const kept = all(ring)
          expect(kept.length).toBeLessThanOrEqual(maxItems)
          expect(kept.length).toBeGreaterThanOrEqual(Math.min(1, sizes.length))
          expect(kept.map((item) => item?.n)).toEqual(kept.map((_, i) => sizes.length - 1 - i))
          for (const item of kept) expect(item?.pad.length).toBe(sizes[item?.n ?? -1])
          expect(kept.reduce((sum, item) => sum + Buffer.byteLength(JSON.stringify(item)), 0)).toBeLessThanOrEqual(
            65_536,
          )
        },
      ),
    )
  })
})
