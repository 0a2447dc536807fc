import { describe, expect, it } from "vitest"
import { Exchange } from "./exchange.ts"
import { InFlight } from "./in-flight.ts"

describe("exchanges under way", () => {
  it("have ids that grow, and are found by them and nothing else, however long one stays", () => {
    const inFlight = new InFlight()
    const begin = () => {
      const exchange = new Exchange(inFlight.nextId(), "ping", { purpose: "own" })
      inFlight.add(exchange)
      return exchange
    }
    const staying = begin()
    let last = staying.id
    for (let i = 0; i < 1000; i++) {
      const exchange = begin()
      expect(exchange.id).toBeGreaterThan(last)
      last = exchange.id
      expect(inFlight.get(exchange.id)).toBe(exchange)
      inFlight.delete(exchange.id)
      expect(inFlight.get(exchange.id)).toBeUndefined()
      expect(inFlight.get(staying.id + 64)).not.toBe(staying)
    }
    expect(inFlight.get(staying.id)).toBe(staying)
    const many = Array.from({ length: 300 }, begin)
    for (const exchange of many) expect(inFlight.get(exchange.id)).toBe(exchange)
    expect(inFlight.values().map(({ id }) => id)).toEqual([staying, ...many].map(({ id }) => id))
    for (const id of [-1, 0.5, Number.NaN, 1e300]) expect(inFlight.get(id)).toBeUndefined()
  })
})
