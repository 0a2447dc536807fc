import * as v from "valibot"

/** What the operations on rules, approvals and pins answer. */
const text = v.string()
const whole = v.pipe(v.number(), v.integer())
const time = v.pipe(v.string(), v.isoTimestamp())

export const policyAnswer = v.object({
  version: text,
  rules: whole,
  file: v.nullable(text),
  problem: v.nullable(text),
  closed: v.boolean(),
  circuits: v.array(
    v.object({
      serviceId: text,
      state: v.picklist(["closed", "open", "half_open"]),
      failures: whole,
      retryAfterMs: v.number(),
    }),
  ),
})

const explanation = {
  effect: v.picklist(["allow", "deny", "ask"]),
  visible: v.boolean(),
  reason: text,
  rule: v.nullable(text),
  version: text,
  steps: v.array(text),
}

export const explanationAnswer = v.object({
  principal: text,
  service: text,
  target: text,
  method: text,
  ...explanation,
})

export const policyTestAnswer = v.object({
  passed: whole,
  failed: whole,
  version: text,
  results: v.array(
    v.object({ name: text, passed: v.boolean(), problem: v.nullable(text), got: v.object(explanation) }),
  ),
})

export const approvalShape = v.object({
  id: text,
  state: v.picklist(["waiting", "granted", "refused"]),
  question: text,
  principal: text,
  service: text,
  method: text,
  target: text,
  digest: text,
  preview: v.nullable(text),
  rule: v.nullable(text),
  byClient: v.boolean(),
  askedAt: time,
  expiresAt: time,
})
export const approvalsAnswer = v.object({ items: v.array(approvalShape), total: whole })
export const approvalAnswer = v.object({ approval: approvalShape })

export const driftAnswer = v.object({
  serviceId: text,
  namespace: text,
  interfaceRevision: v.nullable(text),
  items: v.array(v.object({ tool: text, kind: v.picklist(["new", "changed", "gone"]), fields: v.array(text) })),
})
export const toolsApprovedAnswer = v.object({ serviceId: text, approved: v.array(text) })
