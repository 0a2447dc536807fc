export * from "./outbound.ts"
