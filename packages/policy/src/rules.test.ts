import { type JudgedService, type Principal } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { call, ci, local, never, notes, permitOf, refusalOf, rules, settled } from "../test/cases.ts"
import { standardPolicy } from "./policy.ts"
import { createRuleSet } from "./rule-set.ts"
import { parseRules } from "./rules-schema.ts"
import { fixedRules, type RulesInForce } from "./rules-source.ts"

const policyOf = (...list: object[]) => standardPolicy({ rules: fixedRules(rules(...list)) })
const fileOf = (file: object) => standardPolicy({ rules: fixedRules({ apiVersion: "clarity.policy/v1", ...file }) })
/** What becomes of a call of that tool: `permit`, `deny` or `ask`. */
const effect = (policy: ReturnType<typeof policyOf>, target: string, service = notes(), principal = ci) => {
  const admission = policy.admit(call({ target, service, principal }), never())
  if (admission instanceof Promise) throw new Error("had to wait")
  return admission.kind
}

describe("precedence", () => {
  it("is deny, then ask, then allow, wherever they stand", () => {
    const policy = policyOf(
      { effect: "allow", tools: ["*"] },
      { effect: "ask", tools: ["delete_*"] },
      { effect: "deny", tools: ["delete_all"] },
    )
    expect(["search", "delete_note", "delete_all"].map((tool) => effect(policy, tool))).toEqual([
      "permit",
      "ask",
      "deny",
    ])
  })

  it("falls back to the default", () => {
    for (const [byDefault, kind] of [
      ["allow", "permit"],
      ["ask", "ask"],
      ["deny", "deny"],
    ] as const)
      expect(effect(fileOf({ default: byDefault, rules: [{ effect: "allow", tools: ["known"] }] }), "search")).toBe(
        kind,
      )
  })

  it("opens what it names where the default is deny", () => {
    const policy = fileOf({ default: "deny", rules: [{ effect: "allow", services: ["notes"], tools: ["sea*"] }] })
    expect(["search", "delete_note"].map((tool) => effect(policy, tool))).toEqual(["permit", "deny"])
  })

  it("holds whatever rules there are", () => {
    const list = fc.array(
      fc.record({
        effect: fc.constantFrom("allow" as const, "ask" as const, "deny" as const),
        tools: fc.constantFrom(["*"], ["a"], ["A"], ["b*"], [], ["a", "b"]),
        services: fc.constantFrom(["*"], ["notes"], ["other"]),
      }),
      { maxLength: 6 },
    )
    const means = (pattern: string, tool: string, exact: boolean) =>
      pattern === "*" ||
      pattern === tool ||
      (!exact && pattern.toLowerCase() === tool) ||
      (pattern === "b*" && tool.startsWith("b"))
    fc.assert(
      fc.property(
        list,
        fc.constantFrom("allow", "ask", "deny"),
        fc.constantFrom("a", "b", "bb", "c"),
        (given, byDefault, tool) => {
          const found = given.flatMap(({ effect: wanted, tools, services }) => {
            const emptied = wanted === "allow" && tools.length === 0
            const exact = wanted === "allow" && !emptied
            const serves = services.some((pattern) => pattern === "*" || pattern === "notes")
            const hits = emptied || tools.some((pattern) => means(pattern, tool, exact))
            return serves && hits ? [emptied ? ("deny" as const) : wanted] : []
          })
          const order = ["deny", "ask", "allow"] as const
          const expected = order.find((one) => found.includes(one)) ?? byDefault
          const kind = effect(fileOf({ default: byDefault, rules: given }), tool, notes([tool]))
          expect(kind).toBe(expected === "allow" ? "permit" : expected)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe("what closes meets every spelling; what opens only the very one", () => {
  const spellings = ["DELETE_NOTE", "ｄelete_note", "delete\u200b_note", "dele\u00adte_note", "Delete_Note\u2064"]

  it.each(spellings)("%s", (tool) => {
    expect(effect(policyOf({ effect: "deny", tools: ["delete_note"] }), tool, notes([tool]))).toBe("deny")
    const opened = fileOf({ default: "deny", rules: [{ effect: "allow", tools: ["delete_note"] }] })
    expect(effect(opened, tool, notes([tool]))).toBe("deny")
  })

  it("no letter in another case, no invisible character gets round a rule", () => {
    const policy = policyOf({ effect: "deny", tools: ["delete_*"], services: ["notes"], principals: ["token:*"] })
    const invisible = fc.constantFrom("", "\u200b", "\u200d", "\u2060", "\u00ad", "\ufeff", "\u{e0041}")
    const disguise = fc.array(fc.tuple(fc.boolean(), invisible), { minLength: 11, maxLength: 11 }).map((parts) =>
      [..."delete_note"]
        .map((letter, at) => {
          const [upper, hidden] = parts[at] ?? [false, ""]
          return (upper ? letter.toUpperCase() : letter) + hidden
        })
        .join(""),
    )
    fc.assert(fc.property(disguise, (tool) => void expect(effect(policy, tool, notes([tool]))).toBe("deny")))
  })

  it("meets a service under every name it has, and a tool under its exposed name", () => {
    const twin = notes(undefined, { namespace: "notes_3fa09c", metadata: { displayName: "My Notes" } })
    for (const name of ["notes", "NOTES", "my notes", "svc_notes", "notes_3fa09c"])
      expect([name, effect(policyOf({ effect: "deny", services: [name] }), "search", twin)]).toEqual([name, "deny"])
    expect(effect(policyOf({ effect: "deny", tools: ["notes__search"] }), "search")).toBe("deny")
    for (const [name, kind] of [
      ["notes", "deny"],
      ["svc_notes", "permit"],
      ["notes_3fa09c", "permit"],
    ] as const) {
      const policy = fileOf({ default: "deny", rules: [{ effect: "allow", services: [name] }] })
      expect([name, effect(policy, "search", twin)]).toEqual([name, kind])
    }
  })
})

describe("matchers", () => {
  const tool = (annotations?: object) => notes([{ name: "search", ...(annotations ? { annotations } : {}) }])

  it("an empty list matches nothing, and an allow with one denies what the rest of it is about", () => {
    expect(effect(policyOf({ effect: "deny", tools: [] }), "search")).toBe("permit")
    const none = policyOf({ effect: "allow", services: ["notes"], tools: [] })
    expect(effect(none, "search")).toBe("deny")
    expect(
      effect(none, "search", notes(undefined, { id: "svc_2", namespace: "other", metadata: { module: "other" } })),
    ).toBe("permit")
    expect(none.visible(ci, notes(), "prompt", "greet")).toBe(true)
    expect(effect(policyOf({ effect: "allow", principals: [] }), "search")).toBe("deny")
  })

  it.each([
    [{ destructive: true }, undefined, true],
    [{ destructive: true }, { destructiveHint: false }, false],
    [{ destructive: true }, { readOnlyHint: true }, false],
    [{ destructive: true }, { readOnlyHint: true, destructiveHint: true }, true],
    [{ destructive: true }, { destructiveHint: "false" }, true],
    [{ readOnly: false }, undefined, true],
    [{ readOnly: false }, { readOnlyHint: true }, false],
    [{ openWorld: true }, undefined, true],
    [{ openWorld: true }, { openWorldHint: false }, false],
    [{ idempotent: false }, undefined, true],
    [{ idempotent: false, readOnly: false }, { idempotentHint: true }, false],
  ])("%j of a tool that declares %j: %s", (annotations, declared, matches) => {
    expect(effect(policyOf({ effect: "deny", annotations }), "search", tool(declared))).toBe(
      matches ? "deny" : "permit",
    )
  })

  it("annotations are about tools alone, and known only from the service's own interface", () => {
    const policy = policyOf({ effect: "deny", annotations: { destructive: true } })
    expect(policy.visible(ci, notes(), "prompt", "greet")).toBe(true)
    const { interface: _unknown, ...blind } = notes()
    const harmless = { readOnlyHint: true }
    permitOf(policy.admit(call({ service: blind, annotations: harmless }), never()))
    refusalOf(policy.admit(call({ service: notes(), annotations: harmless }), never()))
  })

  it("a rule about a policyRef is about the services that have it", () => {
    const policy = policyOf({ effect: "deny", policyRefs: ["Strict"] })
    expect(effect(policy, "search", notes(undefined, { spec: { policyRef: "strict" } }))).toBe("deny")
    expect(effect(policy, "search")).toBe("permit")
  })

  it("methods narrow; prompts, resources and tools are told apart", () => {
    const policy = policyOf(
      { effect: "deny", resources: ["file:///*"], methods: ["resources/subscribe"] },
      { effect: "deny", prompts: ["greet"] },
    )
    const read = call({ method: "resources/read", target: "file:///a" })
    permitOf(policy.admit(read, never()))
    refusalOf(policy.admit({ ...read, method: "resources/subscribe" }, never()))
    expect(policy.visible(ci, notes(), "prompt", "greet")).toBe(false)
    permitOf(policy.admit(call({ target: "greet" }), never()))
    refusalOf(policy.admit(call({ method: "completion/complete", target: "greet" }), never()))
  })

  it("a rule without tools covers everything of a service, lists too", () => {
    const policy = policyOf({ effect: "deny", services: ["notes"] })
    expect(refusalOf(policy.admit({ ...call(), method: "tools/list" }, never())).code).toBe("policy_denied")
    for (const [kind, name] of [
      ["tool", "search"],
      ["prompt", "greet"],
      ["resource", "file:///a"],
    ] as const)
      expect(policy.visible(ci, notes(), kind, name)).toBe(false)
  })
})

describe("what is denied", () => {
  it("looks like something that does not exist", () => {
    const policy = policyOf({ effect: "deny", tools: ["delete_*"], reason: "no deletes" })
    expect(policy.visible(ci, notes(), "tool", "delete_note")).toBe(false)
    expect(refusalOf(policy.admit(call({ target: "delete_note" }), never()))).toMatchObject({
      code: "invalid_params",
      message: "unknown tool: delete_note",
      data: {},
    })
  })

  it("is listed and says why, where the rule wants that", () => {
    const policy = policyOf({ name: "calm", effect: "deny", tools: ["delete_*"], listed: true, reason: "no deletes" })
    expect(policy.visible(ci, notes(), "tool", "delete_note")).toBe(true)
    expect(refusalOf(policy.admit(call({ target: "delete_note" }), never()))).toMatchObject({
      code: "policy_denied",
      message: "no deletes",
      data: { service: "notes", reason: "rule", rule: "calm" },
    })
  })

  it("is hidden when any rule hides it", () => {
    const policy = policyOf(
      { effect: "deny", tools: ["delete_*"], listed: true },
      { effect: "deny", tools: ["delete_note"] },
    )
    expect(policy.visible(ci, notes(), "tool", "delete_note")).toBe(false)
    expect(policy.visible(ci, notes(), "tool", "delete_all")).toBe(true)
  })

  it("stays denied for a parked call that goes on", () => {
    const policy = policyOf({ effect: "deny", tools: ["delete_*"] }, { effect: "ask", tools: ["search"] })
    expect(policy.refusal(call({ target: "delete_note", continued: true }))?.code).toBe("invalid_params")
    expect(policy.refusal(call({ continued: true }))).toBeUndefined()
    permitOf(policy.admit(call({ continued: true }), never()))
  })
})

describe("reach", () => {
  const narrow: Principal = { ...ci, reach: ["notes/sea*", "other"] }

  it("hides everything outside, and what is no tool unless all of the service is within", () => {
    const policy = standardPolicy()
    expect(policy.perPrincipal).toBe(true)
    expect(policy.visible(narrow, notes(), "tool", "search")).toBe(true)
    expect(policy.visible(narrow, notes(), "tool", "delete_note")).toBe(false)
    expect(policy.visible(narrow, notes(["search"]), "prompt", "search")).toBe(false)
    expect(policy.visible({ ...ci, reach: ["notes"] }, notes(), "prompt", "greet")).toBe(true)
    expect(refusalOf(policy.admit(call({ principal: narrow, target: "delete_note" }), never())).message).toBe(
      "unknown tool: delete_note",
    )
    const far = notes(undefined, { id: "svc_far", namespace: "far" })
    expect(refusalOf(policy.admit(call({ principal: narrow, service: far }), never())).message).toBe(
      "unknown tool: search",
    )
  })

  it("is no matter of a principal's name: the same id with another reach is judged anew", () => {
    const policy = policyOf({ effect: "ask", tools: ["delete_*"] })
    const service = notes()
    expect(policy.visible(narrow, service, "tool", "delete_note")).toBe(false)
    expect(policy.visible(ci, service, "tool", "delete_note")).toBe(true)
  })
})

it("rules of one principal are not those of another, however often they are asked", () => {
  const policy = policyOf({ effect: "deny", principals: ["token:ci"], tools: ["delete_note"] })
  const service = notes()
  for (let round = 0; round < 3; round++) {
    expect(policy.visible(ci, service, "tool", "delete_note")).toBe(false)
    expect(policy.visible(local, service, "tool", "delete_note")).toBe(true)
  }
})

it("ids and names that run into each other are not taken for one another", () => {
  const service: JudgedService = notes(["x", "b/x", "/x"])
  const policy = policyOf({ effect: "deny", principals: ["a"], tools: ["b/x"] })
  const who = (id: string): Principal => ({ ...ci, id })
  expect(policy.visible(who("a"), service, "tool", "b/x")).toBe(false)
  expect(policy.visible(who("a/b"), service, "tool", "x")).toBe(true)
  expect(policy.visible(who("a/b"), service, "tool", "/x")).toBe(true)
})

it("caps of the rules hold whatever a manifest says, the lowest of all that match", () => {
  const policy = fileOf({
    limits: [{ timeoutMs: 5000 }, { services: ["NOTES"], timeoutMs: 3000, totalMs: 2000, maxPayloadBytes: 2048 }],
  })
  const service = notes(undefined, { spec: { limits: { timeoutMs: 60_000, maxPayloadBytes: 4096 } } })
  expect(permitOf(policy.admit(call({ service }), never())).limits).toMatchObject({ idleMs: 2000, totalMs: 2000 })
  expect(refusalOf(policy.admit(call({ service, bytes: 3000 }), never())).code).toBe("payload_too_large")
  const other = {
    ...service,
    id: "svc_o",
    namespace: "o",
    manifest: notes(undefined, { metadata: { module: "o" } }).manifest,
  }
  expect(permitOf(policy.admit(call({ service: other }), never())).limits.idleMs).toBe(5000)
})

it("limits can change under calls that hold places", () => {
  const policy = standardPolicy({ local: { maxConcurrency: 1 } })
  permitOf(policy.admit(call(), never()))
  expect(policy.admit(call(), never())).toBeInstanceOf(Promise)
  policy.reconfigure({ local: { maxConcurrency: 3 } })
  permitOf(policy.admit(call(), never()))
  expect(policy.load()).toMatchObject({ active: 3, waiting: 0 })
  expect(() => policy.reconfigure({ local: { maxConcurrency: 0 } })).toThrow("invalid policy limits")
  expect(policy.load()).toMatchObject({ active: 3, waiting: 0 })
})

describe("what is remembered of decisions", () => {
  it("does not grow by the long names callers make up", () => {
    const set = createRuleSet(parseRules(rules({ effect: "deny", resources: ["file:///secret/*"] })))
    const service = notes()
    const of = (target: string) =>
      set.judge({ principal: "token:ci", service, method: "resources/read", kind: "resource", target })
    expect(of("file:///a")).toBe(of("file:///a"))
    const long = `file:///${"a".repeat(2000)}`
    expect(of(long)).toEqual(of(long))
    expect(of(`file:///secret/${long}`)).not.toBe(of(`file:///secret/${long}`))
  })
})

describe("rules that change while a call waits for its place", () => {
  /** Rules that a test replaces. */
  function changing() {
    let current: RulesInForce = fixedRules(rules()).current
    const listeners: (() => void)[] = []
    const source = {
      get current() {
        return current
      },
      subscribe: (listener: () => void) => void listeners.push(listener),
    }
    const change = (...list: object[]) => {
      current = fixedRules(rules(...list)).current
      for (const listener of listeners) listener()
    }
    return { source, change }
  }

  it.each([
    ["deny", "deny"],
    ["ask", "deny"],
    ["allow", "permit"],
  ])("%s: %s", async (effect, kind) => {
    const { source, change } = changing()
    const policy = standardPolicy({ rules: source, local: { maxConcurrency: 1 } })
    const service = notes()
    const first = permitOf(policy.admit(call({ service }), never()))
    const second = Promise.resolve(policy.admit(call({ service }), never()))
    expect(policy.load()).toMatchObject({ active: 1, waiting: 1 })
    change({ effect, tools: ["search"] })
    first.settle(settled)
    const admission = await second
    expect(admission.kind).toBe(kind)
    if (admission.kind === "permit") admission.permit.settle(settled)
    expect(policy.load(), "it leaves nothing behind").toMatchObject({ active: 0, waiting: 0, principals: 0 })
  })
})
