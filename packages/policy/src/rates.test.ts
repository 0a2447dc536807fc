import { manualClock } from "@clarity-runtime/testkit"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { createRates, rememberedKeys } from "./rates.ts"
import { parseRules, type RateRule } from "./rules-schema.ts"

function rate(calls: number, perSeconds: number, more: object = {}): RateRule {
  const file = { apiVersion: "clarity.policy/v1", rates: [{ calls, perSeconds, ...more }] }
  return parseRules(file).rates[0] as RateRule
}

/** How many of so many calls get through at this moment. */
function through(rates: ReturnType<typeof createRates>, rule: RateRule, key: string, attempts: number): number {
  let count = 0
  for (let i = 0; i < attempts; i++) if (rates.admit(rule, key) === undefined) count++
  return count
}

describe("a rate", () => {
  test("lets so many through at once, then as many as come back", async () => {
    const clock = manualClock()
    const rates = createRates(clock)
    const rule = rate(10, 60, { name: "gentle" })
    expect(through(rates, rule, "a", 100)).toBe(10)
    const refusal = rates.admit(rule, "a")
    expect(refusal).toMatchObject({
      code: "rate_limited",
      message: expect.stringContaining("gentle"),
      data: { reason: "rate", rule: "gentle", retryAfterMs: 6000 },
    })
    await clock.advance(5999)
    expect(rates.admit(rule, "a")?.data.retryAfterMs).toBe(1)
    await clock.advance(1)
    expect(through(rates, rule, "a", 100)).toBe(1)
    await clock.advance(3_600_000)
    expect(through(rates, rule, "a", 100)).toBe(10)
  })

  test("is each key's own, and goes by no wall clock", () => {
    const clock = manualClock()
    const rates = createRates(clock)
    const rule = rate(2, 10)
    through(rates, rule, "a", 5)
    expect(through(rates, rule, "b", 5)).toBe(2)
    clock.setWallClock(clock.now() + 31_536_000_000)
    expect(through(rates, rule, "a", 5)).toBe(0)
  })

  test("goes on where it was when its file is read anew, and begins anew with other figures", () => {
    const rates = createRates(manualClock())
    through(rates, rate(5, 60), "a", 5)
    expect(through(rates, rate(5, 60), "a", 5)).toBe(0)
    expect(through(rates, rate(6, 60), "a", 9)).toBe(6)
    expect(through(rates, rate(5, 60), "a", 5)).toBe(0)
  })

  test("is not given back to anybody by a crowd of other keys", async () => {
    const clock = manualClock()
    const rates = createRates(clock)
    const rule = rate(10, 3600)
    through(rates, rule, "victim", 10)
    for (let i = 0; i < 2 * rememberedKeys; i++) rates.admit(rule, `other${i}`)
    expect(through(rates, rule, "victim", 10)).toBe(0)
    // Newcomers pay one call for every such crowd: what they start with is what was forgotten last.
    expect(through(rates, rule, "newcomer", 20)).toBeGreaterThanOrEqual(8)
    await clock.advance(3_600_000)
    expect(through(rates, rule, "victim", 20)).toBe(10)
  })
})

test("whatever happens: no key gets through more often than calls and refill allow, in any interval", () => {
  const step = fc.record({
    wait: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 3000, noNaN: true })),
    key: fc.nat(2),
  })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 11 }),
      fc.array(step, { maxLength: 200 }),
      (calls, perSeconds, steps) => {
        let now = 12_345.678
        const rates = createRates({ now: () => 0, monotonic: () => now, sleep: () => Promise.resolve() })
        const rule = rate(calls, perSeconds)
        const admitted = new Map<number, number[]>()
        for (const { wait, key } of steps) {
          now += wait
          const refusal = rates.admit(rule, String(key))
          if (refusal === undefined) admitted.set(key, [...(admitted.get(key) ?? []), now])
          else {
            // And no sooner refused than it must be: what it waits for is there after that time.
            const waitMs = refusal.data.retryAfterMs as number
            expect(waitMs).toBeGreaterThan(0)
            expect(waitMs).toBeLessThanOrEqual((perSeconds * 1000) / calls + 1.001)
          }
        }
        for (const moments of admitted.values())
          for (const [first, from] of moments.entries())
            for (const [more, to] of moments.slice(first).entries())
              expect(more + 1).toBeLessThanOrEqual(calls + (calls * (to - from)) / (perSeconds * 1000) + 1e-3)
      },
    ),
    { numRuns: 200 },
  )
})

test("however many keys there are: none gets more by being forgotten", () => {
  let now = 0
  const rates = createRates({ now: () => 0, monotonic: () => now, sleep: () => Promise.resolve() })
  const rule = rate(3, 3600)
  const got = new Map<string, number>()
  // A walk over far more keys than are remembered, so that most are forgotten half used.
  for (let round = 0; round < 5; round++)
    for (let i = 0; i < 3 * rememberedKeys; i++) {
      const key = String((i * 7919) % (3 * rememberedKeys))
      now += 0.01
      if (rates.admit(rule, key) === undefined) got.set(key, (got.get(key) ?? 0) + 1)
    }
  expect(Math.max(...got.values())).toBeLessThanOrEqual(3)
})
