import { describe, expect, it } from "vitest"
import { parseRules } from "./rules-schema.ts"

const file = (over: object) => ({ apiVersion: "clarity.policy/v1", ...over })

describe("what is no rules file", () => {
  it.each([
    [null, "$ must be"],
    [[], "$"],
    [{}, "$.apiVersion is missing"],
    [{ apiVersion: "clarity.policy/v2" }, "$.apiVersion must be"],
    [file({ rule: [] }), "$.rule is not a known key"],
    [file({ default: "maybe" }), "$.default must be"],
    [file({ rules: {} }), "$.rules must be"],
    [file({ rules: [{ effect: "deny", tool: ["x"] }] }), "$.rules[0].tool is not a known key"],
    [file({ rules: [{ effect: "deny", tools: "x" }] }), "$.rules[0].tools must be"],
    [file({ rules: [{ effect: "deny", tools: [""] }] }), "$.rules[0].tools[0]"],
    [file({ rules: [{ tools: ["x"] }] }), "$.rules[0].effect is missing"],
    [file({ rules: [{ effect: "deny", annotations: { destructiveHint: true } }] }), "destructiveHint is not a known"],
    [file({ rules: [{ effect: "allow", annotations: { readOnly: true } }] }), "must name its services"],
    [file({ rules: [{ effect: "allow", annotations: { readOnly: true }, services: [] }] }), "must name its services"],
    [file({ rules: [{ effect: "deny", approvers: ["client"] }] }), "must have the effect 'ask'"],
    [file({ rules: [{ effect: "ask", listed: true }] }), "must have the effect 'deny'"],
    [file({ rules: [{ effect: "ask", approvers: [] }] }), "$.rules[0].approvers"],
    [file({ rates: [{ calls: 0, perSeconds: 1 }] }), "$.rates[0].calls"],
    [file({ rates: [{ calls: 1 }] }), "$.rates[0].perSeconds is missing"],
    [file({ budgets: [{ per: "run" }] }), "must bound calls"],
    [file({ budgets: [{ per: "principal", calls: 1 }] }), "must have windowSeconds"],
    [file({ budgets: [{ usd: 1 }] }), "needs `prices`"],
    [file({ limits: [{ timeoutMs: 0 }] }), "$.limits[0].timeoutMs"],
    [file({ circuit: { errorRate: 2 } }), "$.circuit.errorRate"],
    [file({ approvals: { expirySeconds: 1 } }), "$.approvals.expirySeconds"],
    [
      file({
        rules: [
          { name: "a", effect: "deny" },
          { name: "a", effect: "ask" },
        ],
      }),
      "two rules are named 'a'",
    ],
    [file({ rules: [{ name: "rule 2", effect: "deny" }, { effect: "ask" }] }), "two rules are named 'rule 2'"],
  ])("%j", (input, words) => {
    expect(() => parseRules(input, "the rules")).toThrow(
      expect.objectContaining({ code: "config_error", message: expect.stringContaining(words) }),
    )
  })

  it("says nothing of the values that are wrong", () => {
    expect(() => parseRules(file({ default: "hunter2" }))).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("hunter2") }),
    )
  })
})

it("fills in every default and names what has no name", () => {
  expect(parseRules(file({ rules: [{ effect: "deny" }, { effect: "ask", name: "careful" }], $schema: "x" }))).toEqual({
    apiVersion: "clarity.policy/v1",
    default: "allow",
    rules: [
      { effect: "deny", name: "rule 1" },
      { effect: "ask", name: "careful" },
    ],
    rates: [],
    budgets: [],
    limits: [],
    circuit: {},
    approvals: { expirySeconds: 600 },
    pin: [],
    prices: {},
  })
})
