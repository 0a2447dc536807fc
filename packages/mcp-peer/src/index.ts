export * from "./transport.ts"
export * from "./peer.ts"
export * from "./pace.ts"
export { encodeHeaderValue } from "./modern-headers.ts"
