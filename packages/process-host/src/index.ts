export { reapLeftovers, type Reaped } from "./leftovers.ts"
export type { ProcessUsage } from "./memory.ts"
export { stdioBackends, type StdioBackends, type StdioBackendsOptions } from "./stdio-backends.ts"
