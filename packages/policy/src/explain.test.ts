import type { Principal } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { call, ci, local, never, notes, rules } from "../test/cases.ts"
import { memoryPins } from "./pins.ts"
import { standardPolicy } from "./policy.ts"
import { fixedRules } from "./rules-source.ts"
import { testRules } from "./test-rules.ts"

const careful = rules(
  { name: "no deletes", effect: "deny", tools: ["delete_*"], reason: "notes are kept" },
  { name: "careful", effect: "ask", services: ["notes"], tools: ["write_*"], approvers: ["operator"] },
)
const why = (file: object, over: object = {}) =>
  standardPolicy({ rules: fixedRules(file) }).explain({
    principal: ci,
    service: notes(),
    method: "tools/call",
    target: "search",
    ...over,
  })

describe("an explanation", () => {
  it("names the rule that decides and every step before it", () => {
    const answer = why(careful, { target: "delete_note" })
    expect(answer).toMatchObject({ effect: "deny", visible: false, reason: "notes are kept", rule: "no deletes" })
    expect(answer.steps).toEqual([
      "token:ci: tools/call 'delete_note' of notes (svc_notes)",
      "token:ci reaches everything",
      "deny rule 'no deletes' matches",
      "ask rule 'careful' does not match: tools",
      "refused: notes are kept",
    ])
  })

  it("says who must approve", () => {
    const answer = why(careful, { target: "write_note" })
    expect(answer).toMatchObject({ effect: "ask", visible: true, rule: "careful" })
    expect(answer.steps.at(-1)).toBe("asked: rule 'careful' says so; an operator must approve each call")
  })

  it("says that nothing stands in the way", () => {
    expect(why(careful)).toMatchObject({ effect: "allow", visible: true, reason: "allowed: no rule says otherwise" })
  })

  it.each([
    ["a scope that is missing", { principal: { ...ci, scopes: ["read"] } }, true, "token:ci lacks the scope 'call'"],
    [
      "a reach that is too short",
      { principal: { ...ci, reach: ["other"] } },
      false,
      "out of the reach of token:ci (other)",
    ],
    [
      "the manifest",
      { service: notes(undefined, { spec: { limits: { allowedTools: ["a"] } } }) },
      false,
      "allowedTools",
    ],
  ])("names %s", (_what, over, visible, words) => {
    expect(why(careful, over)).toMatchObject({ effect: "deny", visible, reason: expect.stringContaining(words) })
  })

  it("names a pin", () => {
    const file = { apiVersion: "clarity.policy/v1", pin: ["notes"] }
    const policy = standardPolicy({ rules: fixedRules(file), pins: memoryPins() })
    policy.visible(ci, notes(["search"]), "tool", "search")
    const service = notes([{ name: "search", title: "x" }])
    const answer = policy.explain({ principal: ci, service, method: "tools/call", target: "search" })
    expect(answer).toMatchObject({
      effect: "deny",
      visible: false,
      reason: expect.stringContaining("is pinned, and its definition changed"),
    })
  })

  it("is what happens, whatever the rules", () => {
    const patterns = fc.subarray(["*", "search", "SEARCH", "notes", "delete_*", "token:*", "local"])
    const list = fc.array(
      fc.record(
        { effect: fc.constantFrom("allow", "ask", "deny"), principals: patterns, tools: patterns, services: patterns },
        { requiredKeys: ["effect"] },
      ),
      { maxLength: 5 },
    )
    const who = fc.constantFrom<Principal>(ci, local, { ...ci, reach: ["notes/sea*"] }, { ...ci, scopes: ["read"] })
    fc.assert(
      fc.property(
        list,
        fc.constantFrom("allow", "ask", "deny"),
        who,
        fc.constantFrom("search", "delete_note"),
        (given, byDefault, principal, target) => {
          const policy = standardPolicy({
            rules: fixedRules({ apiVersion: "clarity.policy/v1", default: byDefault, rules: given }),
          })
          const service = notes()
          const admission = policy.admit(call({ principal, target, service }), never())
          if (admission instanceof Promise) throw new Error("had to wait")
          const { effect, visible } = policy.explain({ principal, service, method: "tools/call", target })
          expect(effect).toBe(admission.kind === "permit" ? "allow" : admission.kind)
          expect(visible).toBe(policy.visible(principal, service, "tool", target))
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe("expected decisions", () => {
  const one = (over: object = {}) => ({
    principal: { id: "token:ci" },
    service: "notes",
    tool: "search",
    expect: "allow",
    ...over,
  })

  it("pass or fail, each with its reason", () => {
    const report = testRules(careful, [
      one(),
      one({ tool: "delete_note", expect: "deny", rule: "no deletes", visible: false }),
      one({ tool: "write_note", expect: "ask", rule: "careful" }),
      one({ tool: "write_note", service: "other" }),
      one({ tool: "delete_note" }),
      one({ tool: "delete_note", expect: "deny", rule: "careful" }),
      one({ expect: "allow", rule: "careful" }),
      one({ expect: "allow", visible: false }),
      one({ principal: { id: "x", scopes: ["read"] }, expect: "deny" }),
      one({ principal: { id: "x", reach: ["other"] }, expect: "deny", visible: false }),
    ])
    expect(report).toMatchObject({ passed: 6, failed: 4 })
    expect(report.results.flatMap(({ problem = [] }) => problem)).toEqual([
      "expected allow, got deny: notes are kept",
      "expected rule 'careful' to decide, but rule 'no deletes' did",
      "expected rule 'careful' to decide, but no rule did",
      "expected it to be hidden, and it is not",
    ])
    expect(report.results[1]?.name).toBe("token:ci notes/delete_note")
  })

  it("know the annotations they give, else those of the service as it is", () => {
    const destructive = rules({ effect: "deny", annotations: { destructive: true } })
    const cases = [one({ expect: "deny" }), one({ annotations: { readOnlyHint: true } })]
    expect(testRules(destructive, cases).failed).toBe(0)
    const known = notes([{ name: "search", annotations: { destructiveHint: false } }])
    const policy = standardPolicy({ rules: fixedRules(destructive) })
    expect(policy.test({ cases: [one()] }, [known]).failed).toBe(0)
    expect(policy.test({ cases: [one()] }, []).failed).toBe(1)
  })

  it("can be about rules that are not in force", () => {
    const policy = standardPolicy({ rules: fixedRules(careful) })
    const report = policy.test({ cases: [one({ expect: "deny" })], rules: rules({ effect: "deny" }) }, [])
    expect(report.passed).toBe(1)
    expect(report.version).not.toBe(policy.status().version)
    expect(policy.visible(ci, notes(), "tool", "search")).toBe(true)
  })

  it.each([
    ["no list", {}, "the cases"],
    ["an empty list", [], "the cases"],
    ["a case about nothing", [{ principal: { id: "x" }, service: "notes", expect: "deny" }], "must name one tool"],
    ["a case about two things", [one({ prompt: "a" })], "must name one tool"],
    ["an unknown key", [one({ tools: ["a"] })], "$[0].tools is not a known key"],
  ])("are not %s", (_what, cases, words) => {
    expect(() => testRules(careful, cases)).toThrow(
      expect.objectContaining({ code: "invalid_params", message: expect.stringContaining(words) }),
    )
  })

  it("are not tried against rules that are none", () => {
    const policy = standardPolicy()
    const rules = { apiVersion: "clarity.policy/v1", rule: [] }
    expect(() => policy.test({ cases: [one()], rules }, [])).toThrow(
      expect.objectContaining({
        code: "invalid_params",
        message: expect.stringContaining("$.rule is not a known key"),
      }),
    )
  })
})
