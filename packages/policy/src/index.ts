export { allowAll, standardPolicy, type BoundedPolicy, type StandardPolicyOptions } from "./policy.ts"
export type { PolicyLimits } from "./limits.ts"
export type { PolicyLoad } from "./places.ts"
