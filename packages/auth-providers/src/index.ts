export { anonymous } from "./anonymous.ts"
export { isLoopback, loopback, type LoopbackOptions } from "./loopback.ts"
export { bearerToken, type BearerTokenOptions, type TokenEntry } from "./bearer-token.ts"
export { createBindings, type Bindings, type BindingsOptions } from "./bindings.ts"
export { createCredentials, type CredentialsOptions, type UpstreamTokens } from "./credentials.ts"
export { createLogins, type Logins, type LoginsOptions } from "./oauth/logins.ts"
export { createTokens, type Tokens, type TokensOptions } from "./tokens/token-store.ts"
export {
  defaultOAuthScopes,
  jwtBearer,
  metadataUrlOf,
  resourceMetadata,
  type JwtBearerOptions,
} from "./tokens/jwt-bearer.ts"
export { keyFile, type KeySource } from "./key-source.ts"
