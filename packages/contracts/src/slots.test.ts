import { describe, expect, it } from "vitest"
import { Slots } from "./slots.ts"

const thing = (name: string) => ({ name, slot: -1 })

describe("slots", () => {
  it("hold what was added until it is deleted, and reuse its place", () => {
    const slots = new Slots<ReturnType<typeof thing>>()
    const [a, b, c] = [thing("a"), thing("b"), thing("c")]
    slots.add(a)
    slots.add(b)
    expect(slots.delete(a)).toBe(true)
    expect(slots.delete(a)).toBe(false)
    slots.add(c)
    expect(c.slot).toBe(0)
    expect(slots.delete(a)).toBe(false)
    expect([...slots].map(({ name }) => name)).toEqual(["c", "b"])
    expect(slots.size).toBe(2)
  })

  it("may change while they are looked through", () => {
    const slots = new Slots<ReturnType<typeof thing>>()
    for (const name of ["a", "b", "c"]) slots.add(thing(name))
    const seen: string[] = []
    for (const one of slots) {
      seen.push(one.name)
      slots.delete(one)
    }
    expect(seen).toEqual(["a", "b", "c"])
    expect(slots.size).toBe(0)
  })
})
