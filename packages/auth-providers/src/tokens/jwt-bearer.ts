import { hash } from "node:crypto"
import {
  ClarityError,
  systemClock,
  type Authenticator,
  type Clock,
  type Principal,
  type Scope,
} from "@clarity-runtime/contracts"
import type { Outbound } from "@clarity-runtime/outbound"
import type { JWTPayload } from "jose"
import { createKeySet } from "./key-set.ts"
import { presentedToken } from "./presented.ts"

export interface JwtBearerOptions {
  /** The authorization server whose tokens are taken, exactly as its `iss` says. */
  readonly issuer: string
  /** What its tokens must be meant for (`aud`): the URL of this resource, as a rule. */
  readonly audience: string
  /** The public URL of the endpoint; where its protected resource metadata lies follows from it (RFC 9728, section 3.1). */
  readonly resource: string
  readonly jwksUri?: string
  /** What the server's scopes allow here. Default: `clarity:read`, `clarity:call`, `clarity:operate`, `clarity:admin`, and `mcp` for calling. */
  readonly scopes?: Readonly<Record<string, readonly Scope[]>>
  readonly outbound: Outbound
  readonly clock?: Clock
}

export const defaultOAuthScopes: Readonly<Record<string, readonly Scope[]>> = {
  mcp: ["call"],
  "clarity:read": ["read"],
  "clarity:call": ["call"],
  "clarity:operate": ["operate"],
  "clarity:admin": ["admin"],
}

/** Signatures that need no secret of ours. `none` and all that are made with a shared key are not among them. */
const algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
const skewSeconds = 60
/** A token that was good is not verified anew for this long. */
const rememberMs = 60_000
const remembered = 2000

interface Known {
  readonly principal: Principal
  /** Epoch milliseconds. */
  readonly until: number
}

/**
 * Takes access tokens that an authorization server made for this resource (OAuth 2.1 resource server; RFC 9068 and
 * whatever else is a signed JWT). A token of another form is left to the next authenticator; a JWT that is not good is
 * refused (`unauthorized`). Where the server's keys cannot be had: `unavailable`, never anybody else's identity.
 */
export function jwtBearer(options: JwtBearerOptions): Authenticator {
  const { issuer, audience, scopes = defaultOAuthScopes, clock = systemClock } = options
  const keyOf = createKeySet(options)
  const known = new Map<string, Known>()

  async function verify(token: string, digest: string): Promise<Principal> {
    let payload: JWTPayload
    // Most daemons never see such a token: what reads one is loaded with the first.
    const { jwtVerify } = await import("jose")
    try {
      ;({ payload } = await jwtVerify(token, keyOf, {
        issuer,
        audience,
        algorithms,
        clockTolerance: skewSeconds,
        currentDate: new Date(clock.now()),
        requiredClaims: ["exp"],
      }))
    } catch (thrown) {
      if (thrown instanceof ClarityError) throw thrown
      throw unauthorized(thrown)
    }
    const principal = principalOf(payload, scopes)
    if (known.size >= remembered) known.clear()
    const until = Math.min(clock.now() + rememberMs, principal.expiresAt ?? Number.POSITIVE_INFINITY)
    known.set(digest, { principal, until })
    return principal
  }

  return {
    challenge: `Bearer resource_metadata="${metadataUrlOf(options.resource)}"`,
    scopeName: (scope) => Object.keys(scopes).find((name) => scopes[name]?.includes(scope)),
    authenticate({ headers }) {
      const token = presentedToken(headers)
      if (token === undefined || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return undefined
      const digest = hash("sha256", token, "base64url")
      const found = known.get(digest)
      if (found !== undefined && found.until > clock.now()) return found.principal
      known.delete(digest)
      return verify(token, digest)
    },
  }
}

function principalOf(payload: JWTPayload, scopes: Readonly<Record<string, readonly Scope[]>>): Principal {
  const { sub, client_id: client, scope, scp, exp } = payload
  const id = named(sub) && sub !== client ? `user:${sub}` : named(client) ? `client:${client}` : undefined
  if (id === undefined) throw unauthorized("the token names neither a user nor a client")
  const given = typeof scope === "string" ? scope.split(" ") : Array.isArray(scp) ? scp.map(String) : []
  const own = given.flatMap((name) => (Object.hasOwn(scopes, name) ? (scopes[name] ?? []) : []))
  return Object.freeze({
    id,
    kind: "user",
    scopes: Object.freeze([...new Set(own)]),
    ...(exp === undefined ? {} : { expiresAt: (exp + skewSeconds) * 1000 }),
  })
}

/** Fit to be shown and compared: printable, of bounded length. */
function named(value: unknown): value is string {
  return typeof value === "string" && /^[\x21-\x7e]{1,256}$/.test(value)
}

function unauthorized(cause: unknown): ClarityError {
  return new ClarityError("unauthorized", "unauthorized", { data: { reason: "invalid_token" }, cause })
}

/** Where a client finds out who gives tokens for this resource: the well-known path goes before the resource's own. */
export function metadataUrlOf(resource: string): string {
  const { origin, pathname } = new URL(resource)
  return `${origin}/.well-known/oauth-protected-resource${pathname === "/" ? "" : pathname}`
}

/** The protected resource metadata itself (RFC 9728, section 2). */
export function resourceMetadata({ resource, issuer, scopes = defaultOAuthScopes }: JwtBearerOptions) {
  return {
    resource,
    authorization_servers: [issuer],
    scopes_supported: Object.keys(scopes),
    bearer_methods_supported: ["header"],
    resource_name: "Clarity Runtime",
  }
}
