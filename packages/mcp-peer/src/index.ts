export * from "./transport.ts"
export * from "./peer.ts"
export { encodeHeaderValue } from "./modern-headers.ts"
