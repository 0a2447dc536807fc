import type { Scope } from "./principal.ts"

/** A token as it may be shown: the value is known to its holder alone, the store keeps a hash. */
export interface TokenInfo {
  /** Chosen by the operator, `[a-z0-9][a-z0-9_-]{0,63}`; the principal is `token:<name>`. */
  readonly name: string
  readonly scopes: readonly Scope[]
  /** Patterns `service` or `service/tool`; absent: everything. */
  readonly reach?: readonly string[]
  /** ISO 8601, UTC. */
  readonly createdAt: string
  readonly expiresAt?: string
  readonly lastUsedAt?: string
}

export interface TokenWish {
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly reach?: readonly string[]
  readonly expiresAt?: string
}

/** Tokens an operator hands out. Answers are durable when they resolve; a revoked token is refused from then on. */
export interface TokenStore {
  /** Newest first. */
  list(): readonly TokenInfo[]
  /** The only moment the value is seen. Throws `conflict` for a taken name, `invalid_params`, `storage_error`. */
  create(wish: TokenWish): Promise<{ readonly info: TokenInfo; readonly token: string }>
  /** Throws `not_found`, `conflict` (the last admin token while others remain), `storage_error`. */
  revoke(name: string): Promise<TokenInfo>
}
