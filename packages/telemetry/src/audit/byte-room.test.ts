import { array, assert, integer, property } from "fast-check"
import { describe, expect, it } from "vitest"
import { ByteRoom } from "./byte-room.ts"

describe("room for bytes", () => {
  it("never hands out the same byte twice before it is released", () => {
    assert(
      property(array(integer({ min: 0, max: 2_500_000 }), { maxLength: 12 }), (sizes) => {
        const room = new ByteRoom()
        for (let again = 0; again < 2; again++) {
          const taken = sizes.map((size, i) => room.take(size).fill(i + 1))
          taken.forEach((bytes, i) => {
            expect(bytes).toHaveLength(sizes[i] as number)
            if (bytes.length > 0) expect([bytes[0], bytes.at(-1)]).toEqual([i + 1, i + 1])
          })
          room.release()
        }
      }),
    )
  })

  it("uses its blocks again, after a mark and after all, and lets go of those it no longer needs", () => {
    const room = new ByteRoom()
    const first = room.take(10)
    const mark = room.mark()
    for (let i = 0; i < 100; i++) {
      room.take(900_000)
      room.giveBack(mark)
    }
    expect(room.size).toBeLessThan(3 * 1024 * 1024)
    expect(room.take(10).byteOffset).toBe(first.byteOffset + 10)
    for (let i = 0; i < 8; i++) room.take(1_000_000)
    const full = room.size
    room.release()
    expect(room.size).toBe(full)
    expect(room.take(10).buffer).toBe(first.buffer)
    room.release()
    expect(room.size).toBeLessThan(2 * 1024 * 1024)
  })
})
