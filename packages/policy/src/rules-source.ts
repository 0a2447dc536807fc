import { parseRules, noRules } from "./rules-schema.ts"
import { createRuleSet, type RuleSet } from "./rule-set.ts"

/** The rules in force at one moment. */
export interface RulesInForce {
  readonly rules: RuleSet
  /** Nothing is there to go by: everything is refused but reading the status. */
  readonly closed: boolean
  /** Why the newest rules are not the ones in force. */
  readonly problem?: string
  /** Where they come from, as the operator named it. */
  readonly file?: string
}

/** Where a policy gets its rules. They are pushed: `current` is a field read on every call. */
export interface RulesSource {
  readonly current: RulesInForce
  /** Called after every change of `current`; as long as the source lives. Must not throw. */
  subscribe(listener: () => void): void
  /** Looks for newer rules now; resolves when `current` tells the outcome. Absent: they never change. */
  reload?(): Promise<void>
}

/** Rules that never change, as `.clarity/policy.json` writes them. Absent: everything is allowed within the limits. Throws `config_error`. */
export function fixedRules(rules?: unknown): RulesSource {
  return {
    current: { rules: createRuleSet(rules === undefined ? noRules : parseRules(rules)), closed: false },
    subscribe: () => {},
  }
}

/** What holds where rules exist and none can be read. */
export const closedRules: RuleSet = createRuleSet(
  parseRules({
    apiVersion: "clarity.policy/v1",
    default: "deny",
    rules: [
      {
        name: "reading the status",
        effect: "allow",
        services: ["runtime"],
        tools: ["status_summary", "policy_status"],
      },
    ],
  }),
)
