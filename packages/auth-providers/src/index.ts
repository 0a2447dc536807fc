export { anonymous } from "./anonymous.ts"
export { isLoopback, loopback } from "./loopback.ts"
export { bearerToken, type BearerTokenOptions, type TokenEntry } from "./bearer-token.ts"
export { createCredentials, type CredentialsOptions } from "./credentials.ts"
