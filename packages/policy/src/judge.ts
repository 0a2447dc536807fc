import {
  ClarityError,
  hasScope,
  reaches,
  unknownTarget,
  type Explanation,
  type JsonObject,
  type JudgedService,
  type Principal,
} from "@clarity-runtime/contracts"
import type { ServiceBounds } from "./limits.ts"
import { kindOf, type Kind, type Subject } from "./matching.ts"
import type { Pins } from "./pins.ts"
import type { RuleSet, Verdict } from "./rule-set.ts"
import { quoted } from "./wording.ts"

/** What a decision is made on: everything of a call that does not change by the moment. */
export interface Case extends Subject {
  readonly caller: Principal
  readonly bounds: ServiceBounds
}

/** Why not. */
export interface Refusal {
  /** Not in lists, and answered like something unknown. */
  readonly hidden: boolean
  readonly why: string
  /** Short code for programs. */
  readonly code: string
  readonly rule?: string
}

/** What decisions are made by. */
export interface Grounds {
  readonly rules: RuleSet
  readonly pins: Pick<Pins, "strange">
  /** Scopes and reach count; where nobody is told apart they do not. */
  readonly principals: boolean
}

export function caseOf(
  input: {
    readonly principal: Principal
    readonly service: JudgedService
    readonly method: string
    readonly target?: string
    readonly annotations?: JsonObject
  },
  bounds: ServiceBounds,
  kind: Kind | undefined = kindOf(input.method, input.target, input.service),
): Case {
  const { principal, service, method, target, annotations } = input
  return { caller: principal, principal: principal.id, service, method, kind, target, annotations, bounds }
}

interface Check {
  readonly refuse: (grounds: Grounds, given: Case) => Refusal | undefined
  /** What was looked at, for a person; undefined where there was nothing to look at. */
  readonly passed: (grounds: Grounds, given: Case) => string | undefined
}

/** A name no tool has: only who reaches all of a service reaches it. */
const everyTool = "\0"

/** In order; the first refusal counts. Those that hide come first, so that nothing is told of what is hidden. */
const checks: readonly Check[] = [
  {
    refuse: (_, { bounds, kind, target }) =>
      kind === "tool" && bounds.allowedTools?.has(target ?? "") === false
        ? { hidden: true, code: "allowed_tools", why: "the manifest's allowedTools leave it out" }
        : undefined,
    passed: (_, { bounds, kind }) =>
      kind === "tool" && bounds.allowedTools !== undefined ? "the manifest's allowedTools name it" : undefined,
  },
  {
    refuse({ principals }, { caller, service, kind, target }) {
      if (!principals || caller.reach === undefined) return undefined
      if (reaches(caller, service.namespace, kind === "tool" ? target : everyTool)) return undefined
      if (kind === undefined && reaches(caller, service.namespace)) return undefined
      const why = `it is out of the reach of ${caller.id} (${caller.reach.join(", ").slice(0, 300) || "nothing"})`
      return { hidden: true, code: "reach", why }
    },
    passed: ({ principals }, { caller }) =>
      principals ? `${caller.id} reaches ${caller.reach === undefined ? "everything" : "it"}` : undefined,
  },
  {
    refuse({ pins, rules }, { service, kind, target }) {
      if (kind !== "tool" || target === undefined || !rules.pins(service)) return undefined
      const strange = pins.strange(service, target)
      if (strange === undefined) return undefined
      const what = { new: "it is new", changed: "its definition changed", unknown: "its definition is not known" }
      const why = `${service.namespace} is pinned, and ${what[strange]} since its tools were approved`
      return { hidden: true, code: "pinned", why }
    },
    passed: ({ rules }, { service, kind }) =>
      kind === "tool" && rules.pins(service) ? "its definition is the approved one" : undefined,
  },
  {
    refuse(grounds, given) {
      const { effect, rule, listed } = grounds.rules.judge(given)
      if (effect !== "deny") return undefined
      const why = rule === undefined ? "no rule allows it" : (rule.reason ?? `rule '${rule.name}' denies it`)
      return { hidden: !listed, code: "rule", why, ...(rule === undefined ? {} : { rule: rule.name }) }
    },
    passed: () => "no rule denies it",
  },
  {
    refuse({ principals }, { caller, method }) {
      if (!principals || hasScope(caller, "call") || (method !== "tools/call" && hasScope(caller, "read")))
        return undefined
      const wanted = method === "tools/call" ? "call" : "read"
      return { hidden: false, code: "scope", why: `${caller.id} lacks the scope '${wanted}' for ${method}` }
    },
    passed: ({ principals }, { caller, method }) =>
      principals ? `${caller.id} has a scope for ${method} (${caller.scopes.join(", ")})` : undefined,
  },
  {
    refuse: (_, { bounds }) =>
      bounds.refused === undefined ? undefined : { hidden: false, code: "host_not_allowed", why: bounds.refused },
    passed: () => undefined,
  },
]

/** Why this may not be; undefined when it may, or when a person must be asked. */
export function refusalOf(grounds: Grounds, given: Case): Refusal | undefined {
  for (const { refuse } of checks) {
    const refusal = refuse(grounds, given)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

/** May it be seen? As `refusalOf`, without what only stops a call. */
export function hidden(grounds: Grounds, given: Case): boolean {
  return refusalOf(grounds, given)?.hidden === true
}

/** A refusal as its caller is told. What is hidden answers like something that is not there. */
export function errorOf({ hidden, why, code, rule }: Refusal, { kind, target, service }: Case): ClarityError {
  if (hidden && kind !== undefined && target !== undefined) return unknownTarget(kind, target)
  return new ClarityError("policy_denied", why, {
    data: { service: service.namespace, reason: code, ...(rule === undefined ? {} : { rule }) },
  })
}

/** The same decision with every step in words. */
export function explain(grounds: Grounds, given: Case): Explanation {
  const { rules } = grounds
  const { service, target, method } = given
  const steps = [
    `${given.principal}: ${method}${target === undefined ? "" : ` ${quoted(target)}`} of ${service.namespace} (${service.id})`,
  ]
  for (const { refuse, passed } of checks) {
    const refusal = refuse(grounds, given)
    if (refusal !== undefined) {
      if (refusal.code === "rule") steps.push(...rules.trace(given))
      steps.push(`refused: ${refusal.why}`)
      const { hidden, why, rule } = refusal
      return { effect: "deny", visible: !hidden, reason: why, ...named(rule), version: rules.version, steps }
    }
    const words = passed(grounds, given)
    if (words === undefined) continue
    if (words === "no rule denies it") steps.push(...rules.trace(given))
    steps.push(words)
  }
  const verdict = rules.judge(given)
  const reason = reasonOf(verdict)
  steps.push(reason)
  return {
    effect: verdict.effect,
    visible: true,
    reason,
    ...named(verdict.rule?.name),
    version: rules.version,
    steps,
  }
}

function named(rule: string | undefined): { rule?: string } {
  return rule === undefined ? {} : { rule }
}

function reasonOf({ effect, rule, approvers }: Verdict): string {
  const by = rule === undefined ? "no rule says otherwise" : `rule '${rule.name}' says so`
  if (effect !== "ask") return `allowed: ${by}`
  const who =
    approvers.length === 2
      ? "the caller's own person or an operator"
      : approvers[0] === "client"
        ? "the caller's own person"
        : "an operator"
  return `asked: ${rule?.reason ?? by}; ${who} must approve each call`
}
