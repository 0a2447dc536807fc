export * from "./outbound.ts"
export { createOutbound, type OutboundOptions } from "./create-outbound.ts"
export type { Lookup } from "./connector.ts"
export { classify, type AddressClass } from "./addresses.ts"
