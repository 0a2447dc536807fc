export {
  allowAll,
  standardPolicy,
  type BoundedPolicy,
  type StandardPolicy,
  type StandardPolicyOptions,
} from "./policy.ts"
export type { PolicyLimits } from "./limits.ts"
export { memoryPins, openPins, type Pins, type PinsOptions } from "./pins.ts"
export type { PolicyLoad } from "./places.ts"
export { rulesFile, type RulesFileOptions, type RulesFileSource } from "./rules-file.ts"
export { parseRules, rulesFileSchema, type RulesFile } from "./rules-schema.ts"
export { fixedRules, type RulesInForce, type RulesSource } from "./rules-source.ts"
export type { RuleSet } from "./rule-set.ts"
export { testRules } from "./test-rules.ts"
