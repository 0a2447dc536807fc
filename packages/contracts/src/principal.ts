/** Who is calling, established once at the edge and never from anything the caller merely claims. */
export interface Principal {
  /** Stable within one configuration, safe to show: `local`, `token:ci`, `user:alice`. Never a secret. */
  readonly id: string
  readonly kind: "anonymous" | "token" | "user" | "internal"
  /** What it may do; `admin` implies the others. */
  readonly scopes: readonly Scope[]
}

export type Scope = "read" | "call" | "operate" | "admin"

export function hasScope(principal: Principal, scope: Scope): boolean {
  return principal.scopes.includes("admin") || principal.scopes.includes(scope)
}

/** Request headers by name, whatever its case; web-standard `Headers` are one. */
export interface HeaderReader {
  get(name: string): string | null
}

/** What an authenticator sees of an HTTP request: headers and the socket's peer, never the body. */
export interface AuthenticationRequest {
  readonly method: string
  readonly path: string
  readonly headers: HeaderReader
  /** The socket's peer address; undefined when mounted where there is no socket. */
  readonly peer: string | undefined
}

/**
 * Turns a request into a principal; `undefined` means "not mine, ask the next". Throws ClarityError
 * (`unauthorized`, `forbidden`) when credentials are present and wrong: that ends the search.
 */
export interface Authenticator {
  /** Shown in the challenge of a 401 when nobody recognised the caller. */
  readonly challenge?: string
  authenticate(request: AuthenticationRequest): Principal | undefined | Promise<Principal | undefined>
}
