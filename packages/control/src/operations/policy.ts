import {
  ClarityError,
  hasScope,
  namespaceOf,
  reaches,
  type Explanation,
  type JudgedService,
  type PendingApproval,
  type PolicyDesk,
  type Principal,
  type Tool,
} from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext } from "../context.ts"
import { printable, requireService } from "../match.ts"
import { defineOperation, reads } from "../operation.ts"
import { controlNamespace, runtimeDefinition } from "../runtime-service.ts"
import { nothing, oneService, serviceId, text } from "../shapes/input.ts"
import { iso, known, type Known } from "../shapes/present.ts"
import {
  approvalAnswer,
  approvalsAnswer,
  driftAnswer,
  explanationAnswer,
  policyAnswer,
  policyTestAnswer,
  toolsApprovedAnswer,
} from "../shapes/policy-output.ts"

const approvalId = v.strictObject({ id: v.pipe(text(64), v.description("Id of the approval.")) })
const target = (words: string, max: number) => v.optional(v.pipe(text(max), v.description(words)))

/** Rules, approvals and pins. `runtimeTools` tells what the runtime itself offers, which rules are about as well. */
export function policyDesk(runtimeTools: (context: ControlContext) => readonly Tool[]) {
  return {
    policyStatus: defineOperation({
      title: "Policy status",
      summary: "Which rules are in force, why a newer file is not, and the circuits of services that fail.",
      input: nothing,
      output: policyAnswer,
      scope: "read",
      route: "policyStatus",
      tool: { name: "policy_status", annotations: reads },
      run: (context) => statusOf(desk(context)),
    }),

    reloadPolicy: defineOperation({
      title: "Reload policy",
      summary: "Reads the rules file now, and takes one that is gone for gone.",
      input: nothing,
      output: policyAnswer,
      scope: "admin",
      route: "reloadPolicy",
      async run(context, _input, { principal }) {
        await desk(context).reload(principal)
        return statusOf(desk(context))
      },
    }),

    explainPolicy: defineOperation({
      title: "Explain a decision",
      summary:
        "Why somebody may, may not or must ask to use a tool, prompt or resource: every step, nothing is called.",
      input: v.strictObject({
        tool: target("`<namespace>__<tool>`, or the service's own name with `service`.", 512),
        prompt: target("A prompt, in the same way.", 512),
        resource: target("A resource by the service's own URI; needs `service`.", 8192),
        service: target("Id or namespace of the service.", 256),
        method: target("Another method than the one that uses it.", 128),
        as: target("Whom to decide for: `token:ci`, `local`; default: the caller.", 256),
      }),
      output: explanationAnswer,
      scope: "operate",
      reach: "view",
      route: "explainPolicy",
      tool: { name: "explain_policy", annotations: reads },
      run(context, input, { principal: caller }) {
        const { service, name, method } = subjectOf(context, runtimeTools, input)
        if (!reaches(caller, service.namespace)) throw unknownService(input.service ?? service.namespace)
        const { principal, note } = somebody(context, input.as, caller)
        const answer = desk(context).explain({ principal, service, method: input.method ?? method, target: name })
        const steps = note === undefined ? answer.steps : [note, ...answer.steps]
        return {
          principal: principal.id,
          service: service.namespace,
          target: name,
          method: input.method ?? method,
          ...shown({ ...answer, steps }),
        }
      },
    }),

    testPolicy: defineOperation({
      title: "Test policy",
      summary:
        "Tries a list of expected decisions against the rules in force, or against rules that are not installed.",
      input: v.strictObject({
        cases: v.pipe(v.array(v.record(v.string(), v.unknown())), v.maxLength(10_000)),
        rules: v.optional(v.record(v.string(), v.unknown())),
      }),
      output: policyTestAnswer,
      scope: "operate",
      route: "testPolicy",
      run(context, { cases, rules }) {
        const services = [...context.registry.snapshot().services.values()].map((each) => judged(known(context, each)))
        const all = [...services, ownService(context, runtimeTools)]
        const report = desk(context).test({ cases, ...(rules === undefined ? {} : { rules }) }, all)
        const results = report.results.map(({ problem, got, ...rest }) => ({
          ...rest,
          problem: problem ?? null,
          got: shown(got),
        }))
        return { ...report, results }
      },
    }),

    listApprovals: defineOperation({
      title: "List approvals",
      summary: "Calls that wait for a person's yes, and answers that were not used yet; newest first.",
      input: nothing,
      output: approvalsAnswer,
      scope: "read",
      route: "listApprovals",
      tool: { name: "list_approvals", annotations: reads },
      run(context, _input, { principal }) {
        const seen = desk(context)
          .approvals()
          .filter(({ service }) => reaches(principal, service))
        return { items: seen.map((approval) => approvalOf(approval, principal)), total: seen.length }
      },
    }),

    // Deciding is never a tool: what asks for an approval must not be able to give it.
    approveCall: defineOperation({
      title: "Approve a call",
      summary: "Lets exactly the call that was asked about through, once.",
      input: approvalId,
      output: approvalAnswer,
      scope: "operate",
      reach: "view",
      route: "approveCall",
      run: (context, { id }, { principal }) => ({
        approval: approvalOf(desk(context).decide(id, true, principal), principal),
      }),
    }),

    denyCall: defineOperation({
      title: "Deny a call",
      summary: "Refuses the call that was asked about, until the question expires.",
      input: approvalId,
      output: approvalAnswer,
      scope: "operate",
      reach: "view",
      route: "denyCall",
      run: (context, { id }, { principal }) => ({
        approval: approvalOf(desk(context).decide(id, false, principal), principal),
      }),
    }),

    getDrift: defineOperation({
      title: "Get drift",
      summary: "Tools of a service that are not as they were first seen or last approved, and which fields differ.",
      input: oneService,
      output: driftAnswer,
      scope: "read",
      route: "getDrift",
      tool: { name: "get_drift", annotations: reads },
      run(context, { id }, { principal }) {
        const { service, revision } = reached(context, id, principal)
        const items = desk(context)
          .drifts(service)
          .map(({ tool, kind, fields }) => ({ tool, kind, fields: [...fields] }))
        return { serviceId: id, namespace: service.namespace, interfaceRevision: revision, items }
      },
    }),

    approveTools: defineOperation({
      title: "Approve tools",
      summary:
        "Takes the tools of a service as they are now for good; with `revision`, only if they still are as they were shown.",
      input: v.strictObject({
        id: serviceId,
        tools: v.optional(v.pipe(v.array(text(256)), v.minLength(1), v.maxLength(2048))),
        revision: v.optional(v.pipe(text(64), v.description("`interfaceRevision` of the drift that was looked at."))),
      }),
      output: toolsApprovedAnswer,
      scope: "admin",
      route: "approveTools",
      async run(context, { id, tools, revision }, { principal }) {
        const found = reached(context, id, principal)
        if (revision !== undefined && revision !== found.revision)
          throw new ClarityError("conflict", "the tools changed again meanwhile; look at the drift once more")
        return { serviceId: id, approved: [...(await desk(context).approveTools(found.service, tools, principal))] }
      },
    }),
  }
}

function desk({ policy }: ControlContext): PolicyDesk {
  if (policy === undefined) throw new ClarityError("conflict", "this runtime keeps no rules")
  return policy
}

function statusOf(policy: PolicyDesk) {
  const { file, problem, ...rest } = policy.status()
  return { ...rest, file: file ?? null, problem: problem ?? null, circuits: [...policy.circuits()] }
}

function shown({ rule, steps, ...rest }: Explanation) {
  return { ...rest, rule: rule ?? null, steps: [...steps] }
}

/** The arguments are for those who decide, and for whoever made the call. */
function approvalOf({ rule, preview, askedAt, expiresAt, ...rest }: PendingApproval, principal: Principal) {
  const shown = hasScope(principal, "operate") || principal.id === rest.principal ? preview : undefined
  return { ...rest, rule: rule ?? null, preview: shown ?? null, askedAt: iso(askedAt), expiresAt: iso(expiresAt) }
}

function judged({ record, status, face }: Known): JudgedService {
  const { id, manifest } = record
  const namespace = status?.namespace ?? namespaceOf(manifest)
  return { id, namespace, manifest, ...(face === undefined ? {} : { interface: face }) }
}

/** A service within the caller's reach; others are not there for it. */
function reached(context: ControlContext, id: string, principal: Principal) {
  const found = requireService(context, id)
  const service = judged(found)
  if (!reaches(principal, service.namespace)) throw unknownService(id)
  return { service, revision: found.status?.revision ?? null }
}

function unknownService(name: string): ClarityError {
  return new ClarityError("not_found", `service not found: ${printable(name)}`)
}

function ownService(context: ControlContext, tools: (context: ControlContext) => readonly Tool[]): JudgedService {
  const face = { tools: tools(context), resources: [], resourceTemplates: [], prompts: [], capabilities: {} }
  return { ...runtimeDefinition(), interface: face }
}

interface Asked {
  readonly tool?: string | undefined
  readonly prompt?: string | undefined
  readonly resource?: string | undefined
  readonly service?: string | undefined
}

/** The one thing a question is about. Throws `invalid_params`, `not_found`. */
function subjectOf(context: ControlContext, runtimeTools: (context: ControlContext) => readonly Tool[], asked: Asked) {
  const given = [asked.tool, asked.prompt, asked.resource].filter((one) => one !== undefined)
  const [name] = given
  if (name === undefined || given.length > 1)
    throw new ClarityError("invalid_params", "give one of tool, prompt and resource")
  const method = asked.tool !== undefined ? "tools/call" : asked.prompt !== undefined ? "prompts/get" : "resources/read"
  const called = (service: string) => serviceCalled(context, runtimeTools, service)
  if (asked.service !== undefined) return { service: called(asked.service), name, method }
  const [, namespace, own] = /^([a-z0-9_]+?)__(.+)$/s.exec(name) ?? []
  if (asked.resource !== undefined || namespace === undefined || own === undefined)
    throw new ClarityError("invalid_params", `which service has ${printable(name)}? Give its name as service`)
  return { service: called(namespace), name: own, method }
}

function serviceCalled(
  context: ControlContext,
  runtimeTools: (context: ControlContext) => readonly Tool[],
  name: string,
): JudgedService {
  if (name === controlNamespace) return ownService(context, runtimeTools)
  for (const record of context.registry.snapshot().services.values()) {
    const service = judged(known(context, record))
    if (service.id === name || service.namespace === name) return service
  }
  throw unknownService(name)
}

/** Whom a question is about, with what is known of them. Whoever is not known here is taken for an ordinary caller. */
function somebody(
  context: ControlContext,
  as: string | undefined,
  caller: Principal,
): { principal: Principal; note?: string } {
  if (as === undefined || as === caller.id) return { principal: caller }
  if (as === "local") return { principal: { id: "local", kind: "user", scopes: ["admin"] } }
  const token = context.tokens?.list().find(({ name }) => as === `token:${name}`)
  if (token !== undefined) {
    const { scopes, reach } = token
    return { principal: { id: as, kind: "token", scopes, ...(reach === undefined ? {} : { reach }) } }
  }
  const kind = as.startsWith("token:") ? "token" : "user"
  const note = `${printable(as)} is not known here: taken for a caller with the scopes read and call`
  return { principal: { id: as, kind, scopes: ["read", "call"] }, note }
}
