import type { Authenticator, Principal, Scope } from "@clarity-runtime/contracts"

/** Everybody is the principal `anonymous` with these scopes: an embedder's word for openness. Default: read and call. */
export function anonymous(options: { readonly scopes?: readonly Scope[] } = {}): Authenticator {
  const principal: Principal = Object.freeze({
    id: "anonymous",
    kind: "anonymous",
    scopes: Object.freeze([...(options.scopes ?? (["read", "call"] as const))]),
  })
  return { authenticate: () => principal }
}
