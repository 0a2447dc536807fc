import { manualClock } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { bob, call, never, notes, permitOf, refusalOf, settled } from "../test/cases.ts"
import type { GuardDefaults } from "./guards.ts"
import { standardPolicy } from "./policy.ts"
import { createRuleSet } from "./rule-set.ts"
import { parseRules } from "./rules-schema.ts"
import { fixedRules, type RulesInForce, type RulesSource } from "./rules-source.ts"

const other = notes(undefined, { id: "svc_other", namespace: "other", metadata: { module: "other" } })
const broken = { kind: "upstream_error", durationMs: 1 } as const

function policyOf(file: object, guards: GuardDefaults = {}) {
  const clock = manualClock()
  const policy = standardPolicy({ rules: fixedRules({ apiVersion: "clarity.policy/v1", ...file }), guards, clock })
  return { clock, policy, admit: (over: Parameters<typeof call>[0] = {}) => policy.admit(call(over), never()) }
}

describe("what the daemon says of guards", () => {
  it("bounds every run that is named, until the rules bound runs themselves", () => {
    const { admit } = policyOf({}, { run: { calls: 2 } })
    for (let i = 0; i < 5; i++) permitOf(admit())
    permitOf(admit({ run: "a" }))
    permitOf(admit({ run: "a" }))
    expect(refusalOf(admit({ run: "a" }))).toMatchObject({ code: "policy_denied", data: { reason: "budget" } })
    permitOf(admit({ run: "b" }))
    permitOf(admit({ run: "a", principal: bob }))
    const own = policyOf({ budgets: [{ per: "run", calls: 3 }] }, { run: { calls: 1 } })
    for (let i = 0; i < 3; i++) permitOf(own.admit({ run: "a" }))
    refusalOf(own.admit({ run: "a" }))
  })

  it("opens circuits as it says, unless the rules say otherwise", () => {
    const fail = ({ admit }: ReturnType<typeof policyOf>, times: number) => {
      for (let i = 0; i < times; i++) permitOf(admit()).settle(broken)
    }
    const early = policyOf({}, { circuit: { minCalls: 2, errorRate: 0.5 } })
    fail(early, 2)
    expect(refusalOf(early.admit())).toMatchObject({ data: { reason: "circuit_open" } })
    const ruled = policyOf({ circuit: { minCalls: 4 } }, { circuit: { minCalls: 2, errorRate: 0.5 } })
    fail(ruled, 2)
    permitOf(ruled.admit())
  })
})

describe("a rate", () => {
  it("is about the calls it names, in whatever spelling", () => {
    const { admit } = policyOf({
      rates: [{ calls: 1, perSeconds: 60, services: ["NOTES"], tools: ["Search"], principals: ["TOKEN:ci"] }],
    })
    permitOf(admit())
    expect(refusalOf(admit())).toMatchObject({ code: "rate_limited", data: { reason: "rate", rule: "rate 1" } })
    permitOf(admit({ target: "delete_note" }))
    permitOf(admit({ service: other }))
    permitOf(admit({ principal: bob }))
  })

  it.each([
    ["principal", { service: other }, true],
    ["principal", { principal: bob }, false],
    ["service", { service: other }, false],
    ["service", { principal: bob }, true],
    ["principal+service", { service: other }, false],
    ["principal+service", { principal: bob }, false],
  ] as const)("per %s: %j shares it: %s", (per, over, shared) => {
    const { admit } = policyOf({ rates: [{ calls: 1, perSeconds: 60, per }] })
    permitOf(admit())
    if (shared) refusalOf(admit(over))
    else permitOf(admit(over))
  })
})

describe("a budget", () => {
  it("of runs counts one caller's run, and calls without one not at all", () => {
    const { admit } = policyOf({ budgets: [{ calls: 1 }] })
    permitOf(admit({ run: "r1" }))
    expect(refusalOf(admit({ run: "r1" }))).toMatchObject({ code: "policy_denied", data: { reason: "budget" } })
    permitOf(admit({ run: "r2" }))
    permitOf(admit({ run: "r1", principal: bob }))
    permitOf(admit())
    permitOf(admit())
  })

  it("is charged what the call used up when it ends, once", () => {
    const { admit } = policyOf({ budgets: [{ per: "principal", windowSeconds: 60, tokens: 100, seconds: 10 }] })
    const permit = permitOf(admit())
    permit.settle({ ...settled, tokens: 60 })
    permit.settle({ ...settled, tokens: 60 })
    permitOf(admit()).settle({ ...settled, durationMs: 9000, tokens: 39 })
    permitOf(admit()).settle({ ...settled, tokens: 1 })
    expect(refusalOf(admit()).message).toContain("100 tokens")
  })

  it("knows what tokens cost where the service states its model", () => {
    const prices = { m: { input: 1_000_000, output: 0 } }
    const { admit } = policyOf({ prices, budgets: [{ per: "principal", windowSeconds: 60, usd: 2 }] })
    const usage = { inputTokens: 2, outputTokens: 0, tokens: 2 }
    permitOf(admit()).settle({ ...settled, usage })
    permitOf(admit()).settle({ ...settled, usage: { ...usage, model: "m" } })
    expect(refusalOf(admit()).message).toContain("2 USD")
    const usual = policyOf({ prices }, { run: { usd: 2 } })
    permitOf(usual.admit({ run: "a" })).settle({ ...settled, usage: { ...usage, model: "m" } })
    expect(refusalOf(usual.admit({ run: "a" })).message).toContain("2 USD")
    permitOf(usual.admit({ run: "b" }))
  })

  it("counts the bytes of an answer only where they are bounded", () => {
    const counted: string[] = []
    const outcome = {
      ...settled,
      get resultBytes() {
        counted.push("bytes")
        return 90
      },
    }
    permitOf(policyOf({ budgets: [{ calls: 9 }] }).admit({ run: "r" })).settle(outcome)
    expect(counted).toEqual([])
    const { admit } = policyOf({ budgets: [{ bytes: 100 }] })
    permitOf(admit({ run: "r" })).settle(outcome)
    expect(counted).toEqual(["bytes"])
    expect(refusalOf(admit({ run: "r" })).message).toContain("100 bytes")
  })

  it("goes on where it was under other rules", () => {
    const file = (over: object) => parseRules({ apiVersion: "clarity.policy/v1", budgets: [{ calls: 1 }], ...over })
    let current: RulesInForce = { rules: createRuleSet(file({})), closed: false }
    let tell = () => {}
    const source: RulesSource = {
      get current() {
        return current
      },
      subscribe: (listener) => void (tell = listener),
    }
    const policy = standardPolicy({ rules: source, clock: manualClock() })
    permitOf(policy.admit(call({ run: "r" }), never()))
    current = { rules: createRuleSet(file({ pin: ["x"] })), closed: false }
    tell()
    refusalOf(policy.admit(call({ run: "r" }), never()))
  })
})

describe("a circuit", () => {
  it("opens after faults of the service, lets one call try, and is forgiven by an operator", async () => {
    const { admit, clock, policy } = policyOf({ circuit: { consecutive: 2, openSeconds: 30 } })
    for (let n = 0; n < 2; n++) permitOf(admit()).settle(broken)
    expect(refusalOf(admit())).toMatchObject({
      code: "unavailable",
      data: { reason: "circuit_open", service: "notes" },
    })
    permitOf(admit({ service: other }))
    expect(policy.circuits()).toMatchObject([{ serviceId: "svc_notes", state: "open" }])
    await clock.advance(30_000)
    const probe = permitOf(admit())
    refusalOf(admit())
    probe.settle(broken)
    refusalOf(admit())
    policy.forgive("svc_notes")
    permitOf(admit())
  })

  it("is not kept from trying by a call that got no place", async () => {
    const clock = manualClock()
    const file = { apiVersion: "clarity.policy/v1", circuit: { consecutive: 1, openSeconds: 30 } }
    const policy = standardPolicy({ rules: fixedRules(file), clock, inFlight: { perPrincipal: 2 } })
    permitOf(policy.admit(call(), never())).settle(broken)
    await clock.advance(30_000)
    const held = [1, 2].map(() => permitOf(policy.admit(call({ service: other }), never())))
    expect(refusalOf(policy.admit(call(), never())).data.reason).toBe("principal_concurrency")
    held[0]?.settle(settled)
    permitOf(policy.admit(call(), never()))
  })

  it("does not judge a service by callers' mistakes", () => {
    const { admit } = policyOf({ circuit: { consecutive: 1 } })
    for (const kind of ["tool_error", "rejected", "cancelled"] as const)
      permitOf(admit()).settle({ kind, durationMs: 1 })
    permitOf(admit())
  })
})
