import { type Admission, type Permit } from "@clarity-runtime/contracts"
import { fakeTelemetry, manualClock } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { bob, call, ci, local, never, notes, permitOf, questionOf, refusalOf, rules, settled } from "../test/cases.ts"
import { createApprovals } from "./approvals.ts"
import { standardPolicy } from "./policy.ts"
import { createRuleSet } from "./rule-set.ts"
import { parseRules } from "./rules-schema.ts"
import { fixedRules, type RulesInForce, type RulesSource } from "./rules-source.ts"

const asking = (over: object = {}) => rules({ name: "careful", effect: "ask", tools: ["search"], ...over })

function desk(file: object = asking(), limits: object = {}) {
  const clock = manualClock()
  const telemetry = fakeTelemetry()
  const policy = standardPolicy({ rules: fixedRules(file), clock, telemetry, ...limits })
  const ask = (over: Parameters<typeof call>[0] = {}) => questionOf(policy.admit(call(over), never()))
  const kinds = () => telemetry.events.map(({ kind }) => kind)
  return { policy, clock, telemetry, ask, kinds }
}

describe("a call that needs approval", () => {
  it("is asked about once, however often it is tried", () => {
    const { policy, ask, kinds } = desk()
    const first = ask()
    expect(first).toMatchObject({
      byClient: false,
      question: expect.stringContaining("token:ci wants to call the tool 'search' of notes"),
    })
    expect(ask().id).toBe(first.id)
    expect(policy.approvals()).toMatchObject([
      { id: first.id, principal: "token:ci", service: "notes", target: "search", rule: "careful", state: "waiting" },
    ])
    expect(kinds()).toEqual(["policy.asked"])
  })

  it.each([
    ["another caller", { principal: bob }],
    ["other arguments", { args: '{"a":1}' }],
    ["another service", { service: notes(undefined, { id: "svc_2", namespace: "other" }) }],
    ["another method", { method: "prompts/get" }],
  ])("is not the call of %s", (_what, over) => {
    const { policy, ask } = desk(rules({ effect: "ask" }))
    const { id } = ask()
    policy.decide(id, true, local)
    expect(ask(over).id).not.toBe(id)
    expect(permitOf(policy.admit(call(), never())).granted).toBe(true)
  })

  it("goes through once when approved, and is asked about again after that", () => {
    const { policy, ask, kinds, telemetry } = desk()
    const { id } = ask()
    expect(policy.decide(id, true, local)).toMatchObject({ id, state: "granted" })
    const permit = permitOf(policy.admit(call(), never()))
    expect(permit.granted).toBe(true)
    permit.settle(settled)
    expect(ask().id).not.toBe(id)
    expect(kinds()).toEqual(["policy.asked", "policy.granted", "policy.consumed", "policy.asked"])
    expect(telemetry.events[1]?.data).toMatchObject({ approval: id, by: "local", rule: "careful", digest: "search {}" })
  })

  it("is refused, and not put again, when a person said no", async () => {
    const { policy, clock, ask } = desk()
    policy.decide(ask().id, false, local)
    expect(refusalOf(policy.admit(call(), never()))).toMatchObject({
      code: "policy_denied",
      data: { reason: "declined" },
    })
    expect(ask({ args: '{"b":1}' }).byClient).toBe(false)
    await clock.advance(600_000)
    ask()
  })

  it("cannot be approved without its arguments", () => {
    const { policy } = desk()
    const { digest: _none, ...blind } = call()
    expect(refusalOf(policy.admit(blind, never())).code).toBe("policy_denied")
  })

  it("has a permit without a grant where nothing was asked", () => {
    const { policy } = desk()
    expect(permitOf(policy.admit(call({ target: "delete_note" }), never())).granted).toBe(false)
  })
})

describe("time", () => {
  it("a question nobody answers expires, and so does an answer nobody uses", async () => {
    const { policy, clock, ask, kinds } = desk({ ...asking(), approvals: { expirySeconds: 60 } })
    const { id, expiresAt } = ask()
    expect(expiresAt).toBe(clock.now() + 60_000)
    await clock.advance(59_999)
    policy.decide(id, true, local)
    await clock.advance(1)
    const again = ask()
    expect(again.id).not.toBe(id)
    await clock.advance(60_000)
    expect(policy.approvals()).toEqual([])
    expect(() => policy.decide(again.id, true, local)).toThrow("no approval")
    expect(kinds()).toEqual(["policy.asked", "policy.granted", "policy.expired", "policy.asked", "policy.expired"])
  })

  it("is that of intervals: turning back the wall clock makes no answer younger", async () => {
    const { policy, clock, ask } = desk()
    const { id } = ask()
    clock.setWallClock(0)
    await clock.advance(600_000)
    expect(() => policy.decide(id, true, local)).toThrow(expect.objectContaining({ code: "not_found" }))
  })
})

describe("the caller's own person", () => {
  it("answers where the client can ask", () => {
    const { policy, ask } = desk()
    const { id, byClient } = ask({ canAsk: true })
    expect(byClient).toBe(true)
    policy.answer(id, ci, true)
    expect(permitOf(policy.admit(call(), never())).granted).toBe(true)
  })

  it("answers for nobody else, and for nothing unknown", () => {
    const { policy, ask } = desk()
    const { id } = ask()
    for (const [which, who] of [
      [id, bob],
      ["ap_none", ci],
    ] as const)
      expect(() => policy.answer(which, who, true)).toThrow(expect.objectContaining({ code: "invalid_params" }))
    expect(policy.approvals()[0]?.state).toBe("waiting")
  })

  it("does not count where the rule wants an operator", () => {
    const { policy, ask } = desk(asking({ approvers: ["operator"] }))
    const { id, byClient } = ask({ canAsk: true })
    expect(byClient).toBe(false)
    expect(() => policy.answer(id, ci, true)).toThrow(expect.objectContaining({ code: "policy_denied" }))
    expect(policy.approvals()[0]?.state).toBe("waiting")
  })

  it("cannot turn a no of an operator into a yes", () => {
    const { policy, ask } = desk()
    const { id } = ask({ canAsk: true })
    policy.decide(id, false, local)
    expect(() => policy.answer(id, ci, true)).toThrow(expect.objectContaining({ code: "invalid_params" }))
    refusalOf(policy.admit(call(), never()))
  })

  it("is not enough where one of two rules wants an operator", () => {
    const both = rules(
      { effect: "ask", tools: ["search"] },
      { effect: "ask", services: ["notes"], approvers: ["operator"] },
    )
    expect(desk(both).ask({ canAsk: true }).byClient).toBe(false)
    const crossed = rules({ effect: "ask", approvers: ["client"] }, { effect: "ask", approvers: ["operator"] })
    expect(desk(crossed).ask({ canAsk: true }).byClient).toBe(false)
  })
})

describe("an operator", () => {
  it.each([
    ["a token that may only call", ci, "forbidden"],
    ["an operator whose own call it is", { ...bob, id: "token:ci" }, "forbidden"],
    ["an operator who does not reach the service", { ...bob, reach: ["other"] }, "not_found"],
    ["an operator who reaches other tools of it", { ...bob, reach: ["notes/delete_*"] }, "not_found"],
  ])("is not %s", (_who, by, code) => {
    const { policy, ask } = desk()
    const { id } = ask()
    expect(() => policy.decide(id, true, by)).toThrow(expect.objectContaining({ code }))
    ask()
  })

  it("may refuse its own call, and as admin approve it, because then there is nobody above", () => {
    const { policy, ask } = desk()
    const own = { ...bob, id: "token:ci" }
    expect(policy.decide(ask().id, false, own).state).toBe("refused")
    expect(policy.decide(ask({ args: "1" }).id, true, { ...own, scopes: ["admin"] }).state).toBe("granted")
  })

  it("decides once", () => {
    const { policy, ask } = desk()
    const { id } = ask()
    policy.decide(id, true, bob)
    expect(() => policy.decide(id, false, bob)).toThrow(expect.objectContaining({ code: "conflict" }))
  })

  it("has no say where the rule leaves it to the caller's person", () => {
    const { policy, ask } = desk(asking({ approvers: ["client"] }))
    expect(() => policy.decide(ask().id, true, local)).toThrow(expect.objectContaining({ code: "forbidden" }))
  })
})

describe("a grant", () => {
  it("lets one of two equal calls through that wait for a place at once", async () => {
    const { policy, ask } = desk(rules({ effect: "ask", tools: ["search"] }), { local: { maxConcurrency: 1 } })
    const busy = permitOf(policy.admit(call({ target: "delete_note" }), never()))
    policy.decide(ask().id, true, local)
    const waiting = policy.admit(call(), never())
    expect(waiting).toBeInstanceOf(Promise)
    const second = policy.admit(call(), never())
    expect(questionOf(second)).toBeDefined()
    busy.settle(settled)
    const permit = ((await waiting) as Extract<Admission, { kind: "permit" }>).permit as Permit
    expect(permit.granted).toBe(true)
  })

  it("is still there when there was no place for its call", async () => {
    const { policy, ask } = desk(rules({ effect: "ask", tools: ["search"] }), { local: { maxConcurrency: 1 } })
    const busy = permitOf(policy.admit(call({ target: "delete_note" }), never()))
    policy.decide(ask().id, true, local)
    const caller = new AbortController()
    const waiting = policy.admit(call(), caller.signal)
    caller.abort()
    expect((await waiting).kind).toBe("deny")
    busy.settle(settled)
    expect(permitOf(policy.admit(call(), never())).granted).toBe(true)
  })

  it("is not taken by a rate that is used up", async () => {
    const file = { ...asking(), rates: [{ calls: 1, perSeconds: 60, tools: ["search"] }] }
    const { policy, clock, ask } = desk(file)
    policy.decide(ask().id, true, local)
    permitOf(policy.admit(call(), never()))
    policy.decide(ask().id, true, local)
    expect(refusalOf(policy.admit(call(), never())).code).toBe("rate_limited")
    await clock.advance(60_000)
    expect(permitOf(policy.admit(call(), never())).granted).toBe(true)
  })

  it("is worth nothing under other rules", () => {
    let current: RulesInForce = { rules: createRuleSet(parseRules(asking())), closed: false }
    let tell = () => {}
    const source: RulesSource = {
      get current() {
        return current
      },
      subscribe: (listener) => void (tell = listener),
    }
    const policy = standardPolicy({ rules: source, clock: manualClock() })
    const { id } = questionOf(policy.admit(call(), never()))
    policy.decide(id, true, local)
    current = { rules: createRuleSet(parseRules(asking({ reason: "new" }))), closed: false }
    tell()
    expect(questionOf(policy.admit(call(), never())).id).not.toBe(id)
  })
})

describe("bounds", () => {
  it("one caller has 32 questions; the oldest nobody answered gives way", () => {
    const { policy, ask } = desk()
    const first = ask({ args: "first" }).id
    policy.decide(first, true, local)
    const oldest = ask({ args: "0" }).id
    for (let n = 1; n < 40; n++) ask({ args: String(n) })
    ask({ principal: bob })
    const ids = policy.approvals().map(({ id }) => id)
    expect(ids).toHaveLength(33)
    expect(ids).toContain(first)
    expect(ids).not.toContain(oldest)
  })

  it("calls that were approved and not made give way to nobody", () => {
    const { policy, ask } = desk()
    for (let n = 0; n < 32; n++) policy.decide(ask({ args: String(n) }).id, true, local)
    expect(refusalOf(policy.admit(call({ args: "more" }), never()))).toMatchObject({
      code: "rate_limited",
      data: { reason: "approvals" },
    })
  })

  it("in all there are as many as there may be, whoever asks", () => {
    const ruleSet = createRuleSet(parseRules(asking()))
    const approvals = createApprovals(manualClock(), fakeTelemetry(), { total: 3, perPrincipal: 2 })
    const of = (who: string, args: string) => {
      const input = call({ principal: { ...ci, id: who }, args })
      const subject = {
        principal: who,
        service: input.service,
        method: "tools/call",
        kind: "tool" as const,
        target: "search",
      }
      return approvals.of(input, ruleSet.judge(subject), ruleSet).state
    }
    expect([of("a", "1"), of("a", "2"), of("b", "1"), of("c", "1"), of("a", "3")]).toEqual([
      "waiting",
      "waiting",
      "waiting",
      "refused",
      "waiting",
    ])
    expect(approvals.list()).toHaveLength(3)
  })
})

it("a name that steers terminals or readers is harmless in a question and in what is recorded", () => {
  const { ask, telemetry } = desk(rules({ effect: "ask" }))
  const evil = "x\u001b[2J\u202e'\n"
  const { question } = ask({ target: evil, service: notes([evil]) })
  const all = question + telemetry.events.map(({ message }) => message).join("")
  expect(all).not.toMatch(/[\p{Cc}\p{Cf}]/u)
})
