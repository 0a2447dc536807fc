import { namePattern } from "./patterns.ts"

/** Who is calling, established once at the edge and never from anything the caller merely claims. */
export interface Principal {
  /** Stable within one configuration, safe to show: `local`, `token:ci`, `user:alice`. Never a secret. */
  readonly id: string
  readonly kind: "anonymous" | "token" | "user" | "internal"
  /** What it may do; `admin` implies the others. */
  readonly scopes: readonly Scope[]
  /** Which services and tools it may touch, as patterns `service` or `service/tool` (see `reaches`); absent: all. */
  readonly reach?: readonly string[]
  /** Aborted when these credentials are revoked or expire: what the principal holds open ends then. */
  readonly ends?: AbortSignal
  /** Epoch milliseconds after which the credentials are no longer good, where they say so themselves. */
  readonly expiresAt?: number
}

export type Scope = "read" | "call" | "operate" | "admin"

export function hasScope(principal: Principal, scope: Scope): boolean {
  return principal.scopes.includes("admin") || principal.scopes.includes(scope)
}

/**
 * May this principal touch that service (by namespace), or that tool of it? `notes` and `notes/*` reach the whole
 * service, `notes/search_*` some tools of it; a service is reached when anything of it is.
 */
export function reaches(principal: Principal, namespace: string, tool?: string): boolean {
  const { reach } = principal
  if (reach === undefined) return true
  let allowed = reachCache.get(reach)
  if (allowed === undefined) reachCache.set(reach, (allowed = compileReach(reach)))
  return allowed(namespace, tool)
}

type Reach = (namespace: string, tool: string | undefined) => boolean
const reachCache = new WeakMap<readonly string[], Reach>()

function compileReach(reach: readonly string[]): Reach {
  const parts = reach.map((entry) => {
    const slash = entry.indexOf("/")
    const service = namePattern([slash < 0 ? entry : entry.slice(0, slash)], "exact")
    return { service, tool: slash < 0 ? () => true : namePattern([entry.slice(slash + 1)], "exact") }
  })
  return (namespace, tool) => parts.some((part) => part.service(namespace) && (tool === undefined || part.tool(tool)))
}

/**
 * Calls back once when the principal's credentials stop being good, unless `until` aborted before: whoever holds a
 * stream open for it closes it then. `now` is epoch milliseconds.
 */
export function whenCredentialsEnd(principal: Principal, now: number, until: AbortSignal, end: () => void): void {
  const { ends, expiresAt } = principal
  if (until.aborted) return
  if (ends?.aborted === true) return end()
  ends?.addEventListener("abort", end, { once: true, signal: until })
  if (expiresAt === undefined) return
  const timer = setTimeout(end, Math.min(Math.max(0, expiresAt - now), longestTimer))
  timer.unref()
  until.addEventListener("abort", () => clearTimeout(timer), { once: true })
}

/** Node's timers know no longer wait, in milliseconds. */
const longestTimer = 2_147_483_647

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
  /** What the giver of tokens calls a scope of ours, for the challenge that asks for more of them. */
  scopeName?(scope: Scope): string | undefined
  authenticate(request: AuthenticationRequest): Principal | undefined | Promise<Principal | undefined>
}
