import { canonicalJson, shortHash, type JudgedService } from "@clarity-runtime/contracts"
import { matcherOf, type Matcher, type Matchers, type Subject } from "./matching.ts"
import type { CapRule, Rule, RulesFile } from "./rules-schema.ts"

export type Effect = Rule["effect"]

/** What the rules say of one subject. */
export interface Verdict {
  readonly effect: Effect
  /** What decided; undefined: no rule matched, the file's default did. */
  readonly rule: Rule | undefined
  /** Refused, and yet shown in lists. */
  readonly listed: boolean
  /** Who may say yes to an `ask`. */
  readonly approvers: readonly Approver[]
}

export type Approver = "client" | "operator"

/** The rules of one file, made ready to decide. Immutable: another file is another set. */
export interface RuleSet {
  readonly file: RulesFile
  /** Short digest of the content, whatever its layout. */
  readonly version: string
  /** The same object for the same question, as long as the service's view lives; for very long targets worked out anew. */
  judge(subject: Subject): Verdict
  /** What became of every rule, in words and in their order. */
  trace(subject: Subject): string[]
  /** The caps of `limits` that hold for a service. */
  capsOf(service: JudgedService): readonly CapRule[]
  pins(service: JudgedService): boolean
}

interface Compiled {
  readonly rule: Rule
  readonly effect: Effect
  readonly mismatch: Matcher
}

/** By principal, method and target: three look-ups of texts that are at hand cost less than one of a text made for it. */
interface Verdicts {
  count: number
  readonly of: Map<string, Map<string, Map<string | undefined, Verdict>>>
}

function inner<K, V>(outer: Map<string, Map<K, V>>, key: string): Map<K, V> {
  let found = outer.get(key)
  if (found === undefined) outer.set(key, (found = new Map()))
  return found
}

const everybody: readonly Approver[] = ["client", "operator"]
/** Verdicts kept for one view of one service; beyond that all are worked out anew. */
const remembered = 8192
/** Characters of a target; callers make longer ones up, and so many of them would fill the memory. */
const longestRemembered = 512

export function createRuleSet(file: RulesFile): RuleSet {
  const compiled = file.rules.map(compile)
  const caps = file.limits.map((cap) => ({ cap, meant: serviceMatcher(cap.services) }))
  const pinned = file.pin.length === 0 ? () => false : serviceMatcher(file.pin)
  const byDefault: Verdict = { effect: file.default, rule: undefined, listed: false, approvers: everybody }
  const memory = new WeakMap<JudgedService, Verdicts>()

  function decide(subject: Subject): Verdict {
    const matching = compiled.filter(({ mismatch }) => mismatch(subject) === undefined)
    const denying = matching.filter(({ effect }) => effect === "deny")
    // Among those that deny, one that hides wins over one that shows.
    const denied = denying.find(({ rule }) => rule.listed !== true) ?? denying[0]
    if (denied !== undefined)
      return { effect: "deny", rule: denied.rule, listed: denied.rule.listed === true, approvers: [] }
    const asking = matching.filter(({ effect }) => effect === "ask")
    const [asked] = asking
    if (asked !== undefined) {
      const allowed = everybody.filter((who) => asking.every(({ rule }) => (rule.approvers ?? everybody).includes(who)))
      return { effect: "ask", rule: asked.rule, listed: false, approvers: allowed.length > 0 ? allowed : ["operator"] }
    }
    const opened = matching[0]
    return opened === undefined ? byDefault : { effect: "allow", rule: opened.rule, listed: false, approvers: [] }
  }

  return {
    file,
    version: shortHash(canonicalJson(file)),
    judge(subject) {
      if (compiled.length === 0) return byDefault
      // What the key does not tell must follow from the service's view.
      const { service, principal, method, target } = subject
      if (service.interface === undefined || (target?.length ?? 0) > longestRemembered) return decide(subject)
      let verdicts = memory.get(service)
      if (verdicts === undefined) memory.set(service, (verdicts = { count: 0, of: new Map() }))
      const known = verdicts.of.get(principal)?.get(method)?.get(target)
      if (known !== undefined) return known
      const verdict = decide(subject)
      if (++verdicts.count > remembered) {
        verdicts.count = 1
        verdicts.of.clear()
      }
      inner(inner(verdicts.of, principal), method).set(target, verdict)
      return verdict
    },
    trace: (subject) =>
      compiled.map(({ rule, effect, mismatch }) => {
        const field = mismatch(subject)
        const what = `${effect} rule '${rule.name}'`
        return field === undefined ? `${what} matches` : `${what} does not match: ${field}`
      }),
    capsOf: (service) => caps.filter(({ meant }) => meant(service)).map(({ cap }) => cap),
    pins: pinned,
  }
}

/**
 * An `allow` with an empty list allows nothing of what it is about: it denies the rest of what it says. Elsewhere an
 * empty list matches nothing.
 */
function compile(rule: Rule): Compiled {
  if (rule.effect !== "allow") return { rule, effect: rule.effect, mismatch: matcherOf(rule, "closes") }
  const matchers: Matchers = rule
  const emptied = fields.filter((field) => matchers[field]?.length === 0)
  if (emptied.length === 0) return { rule, effect: "allow", mismatch: matcherOf(rule, "opens") }
  const rest = Object.fromEntries(
    emptied.map((field) => [field, targetFields.includes(field) ? ["*"] : undefined]),
  ) as Matchers
  return { rule, effect: "deny", mismatch: matcherOf({ ...matchers, ...rest }, "closes") }
}

const fields = ["principals", "services", "tools", "prompts", "resources", "methods", "policyRefs"] as const
const targetFields: readonly string[] = ["tools", "prompts", "resources"]

function serviceMatcher(services: readonly string[] | undefined): (service: JudgedService) => boolean {
  const mismatch = matcherOf({ services }, "closes")
  return (service) => mismatch({ ...nobody, service }) === undefined
}

const nobody = { principal: "", method: "", kind: undefined, target: undefined }
