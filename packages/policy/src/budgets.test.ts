import { manualClock } from "@clarity-runtime/testkit"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { costOf, createBudgets, rememberedAccounts, type Budgets } from "./budgets.ts"
import { parseRules, type BudgetRule } from "./rules-schema.ts"

const prices = { "model-a": { input: 2, output: 10 } }

function budget(figures: object): BudgetRule {
  const file = { apiVersion: "clarity.policy/v1", budgets: [{ name: "runs", ...figures }], prices }
  return parseRules(file).budgets[0] as BudgetRule
}

function call(budgets: Budgets, rule: BudgetRule, key = "k", owner = key): boolean {
  if (budgets.admit(rule, key, 0, owner) !== undefined) return false
  budgets.settle(rule, key, { durationMs: 0 })
  return true
}

describe("a budget", () => {
  test("of calls is used up by as many, and says so", () => {
    const budgets = createBudgets(manualClock())
    const rule = budget({ calls: 3 })
    expect([1, 2, 3, 4, 5].map(() => call(budgets, rule))).toEqual([true, true, true, false, false])
    const refusal = budgets.admit(rule, "k", 0)
    expect(refusal).toMatchObject({
      code: "policy_denied",
      message: "runs: the budget of this run is used up (3 calls)",
      data: { reason: "budget", rule: "runs", usedUp: "calls" },
    })
    expect(refusal?.data).not.toHaveProperty("retryAfterMs")
    expect(call(budgets, rule, "other")).toBe(true)
  })

  test("of bytes counts both ways, and lets no request through that does not fit", () => {
    const budgets = createBudgets(manualClock())
    const rule = budget({ bytes: 1000 })
    expect(budgets.admit(rule, "k", 1001)?.data["usedUp"]).toBe("bytes")
    expect(budgets.admit(rule, "k", 400)).toBeUndefined()
    budgets.settle(rule, "k", { durationMs: 1, resultBytes: 500 })
    expect(budgets.admit(rule, "k", 101)?.data["usedUp"]).toBe("bytes")
    expect(budgets.admit(rule, "k", 100)).toBeUndefined()
    budgets.settle(rule, "k", { durationMs: 1, resultBytes: 1 })
    expect(budgets.admit(rule, "k", 0)?.data["usedUp"]).toBe("bytes")
  })

  test.each([
    ["tokens", { tokens: 100 }, { durationMs: 0, tokens: 99 }, { durationMs: 0, tokens: 1 }],
    ["seconds", { seconds: 10 }, { durationMs: 9_999 }, { durationMs: 1 }],
    ["usd", { usd: 0.5 }, { durationMs: 0, usd: 0.4999 }, { durationMs: 0, usd: 0.0001 }],
  ])("of %s is charged when calls end", (bound, figures, most, rest) => {
    const budgets = createBudgets(manualClock())
    const rule = budget(figures)
    for (const spent of [most, rest]) {
      expect(budgets.admit(rule, "k", 5)).toBeUndefined()
      budgets.settle(rule, "k", spent)
    }
    expect(budgets.admit(rule, "k", 5)?.data["usedUp"]).toBe(bound)
  })

  test("is not charged for what nobody counted", () => {
    const budgets = createBudgets(manualClock())
    const rule = budget({ tokens: 1, usd: 1, bytes: 1 })
    for (let i = 0; i < 1000; i++) expect(call(budgets, rule)).toBe(true)
  })

  test("with a window begins anew when that ends, by no wall clock", async () => {
    const clock = manualClock()
    const budgets = createBudgets(clock)
    const rule = budget({ calls: 2, per: "principal", windowSeconds: 60 })
    expect(call(budgets, rule)).toBe(true)
    await clock.advance(20_000)
    expect(call(budgets, rule)).toBe(true)
    clock.setWallClock(clock.now() + 31_536_000_000)
    expect(budgets.admit(rule, "k", 0)).toMatchObject({
      message: expect.stringContaining("this principal"),
      data: { retryable: true, retryAfterMs: 40_000 },
    })
    await clock.advance(39_999)
    expect(call(budgets, rule)).toBe(false)
    await clock.advance(1)
    expect([1, 2, 3].map(() => call(budgets, rule))).toEqual([true, true, false])
  })

  test("goes on where it was when its file is read anew, for other services too", () => {
    const budgets = createBudgets(manualClock())
    call(budgets, budget({ calls: 1 }))
    expect(call(budgets, budget({ calls: 1, services: ["a"] }))).toBe(false)
    expect(call(budgets, budget({ calls: 2 }))).toBe(true)
  })
})

describe("many keys", () => {
  test("of one owner push nobody else's out", () => {
    const budgets = createBudgets(manualClock())
    const rule = budget({ calls: 1 })
    call(budgets, rule, "victim's run", "victim")
    for (let i = 0; i < 3 * rememberedAccounts; i++) call(budgets, rule, `run ${i}`, "attacker")
    expect(call(budgets, rule, "victim's run", "victim")).toBe(false)
  })

  test("push out the least used of their owner first, and none with a call under way", () => {
    const budgets = createBudgets(manualClock())
    const rule = budget({ calls: 3 })
    for (let i = 0; i < 3; i++) call(budgets, rule, "spent", "me")
    budgets.admit(rule, "busy", 0, "me")
    for (let i = 0; i < 3 * rememberedAccounts; i++) call(budgets, rule, `run ${i}`, "me")
    expect(call(budgets, rule, "spent", "me")).toBe(false)
    budgets.settle(rule, "busy", { durationMs: 0 })
    expect([1, 2, 3].map(() => call(budgets, rule, "busy", "me"))).toEqual([true, true, false])
  })

  test("make room by what is long over, however much of it was used", async () => {
    const clock = manualClock()
    const budgets = createBudgets(clock)
    const rule = budget({ calls: 2 })
    for (let i = 0; i < rememberedAccounts; i++) for (const _ of "ab") call(budgets, rule, `old ${i}`, "me")
    await clock.advance(86_400_000)
    for (let i = 0; i < rememberedAccounts / 2; i++) call(budgets, rule, `new ${i}`, "me")
    for (let i = 0; i < rememberedAccounts / 2; i++) call(budgets, rule, `new ${i}`, "me")
    expect(call(budgets, rule, "new 0", "me")).toBe(false)
  })
})

describe("money", () => {
  const usage = { inputTokens: 1_000_000, outputTokens: 500_000, tokens: 1_500_000 }

  test("is known only where model and price are", () => {
    expect(costOf({ ...usage, model: "model-a" }, prices)).toBe(7)
    expect(costOf(usage, prices)).toBeUndefined()
    for (const model of ["model-b", "toString", "__proto__"])
      expect(costOf({ ...usage, model }, prices)).toBeUndefined()
  })

  test("cannot be bounded without any price", () => {
    const file = { apiVersion: "clarity.policy/v1", budgets: [{ usd: 1 }] }
    expect(() => parseRules(file)).toThrow(/prices/)
    expect(parseRules({ ...file, prices }).budgets[0]?.usd).toBe(1)
  })
})

test("whatever happens: one key at a time gets no more calls, and no more bytes, than its budget has", () => {
  const step = fc.record({ key: fc.nat(2), bytes: fc.nat(400), result: fc.nat(400), late: fc.boolean() })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.array(step, { maxLength: 60 }), (calls, steps) => {
      const budgets = createBudgets(manualClock())
      const rule = budget({ calls, bytes: 2000 })
      const seen = new Map<number, { calls: number; bytes: number }>()
      for (const { key, bytes, result } of steps) {
        const before = seen.get(key) ?? { calls: 0, bytes: 0 }
        const fits = before.calls < calls && before.bytes + bytes <= 2000
        const refusal = budgets.admit(rule, String(key), bytes)
        expect(refusal === undefined).toBe(fits)
        if (refusal !== undefined) continue
        budgets.settle(rule, String(key), { durationMs: 1, resultBytes: result })
        seen.set(key, { calls: before.calls + 1, bytes: before.bytes + bytes + result })
      }
    }),
    { numRuns: 200 },
  )
})
