export * from "./transport.ts"
export * from "./peer.ts"
