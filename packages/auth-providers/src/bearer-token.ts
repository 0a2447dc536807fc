import { ClarityError, validate, type Authenticator, type Principal, type Scope } from "@clarity-runtime/contracts"
import { hash, randomBytes } from "node:crypto"
import * as v from "valibot"
import { isPlaceholder } from "./placeholder.ts"
import { presentedToken } from "./tokens/presented.ts"

/** One token and what it may do. */
export interface TokenEntry {
  /** Names the principal: `token:<id>`. Shown in the timeline. */
  readonly id: string
  /** Visible ASCII, at most 1,024 characters. Only its hash is kept. */
  readonly token: string
  /** Default: everything. */
  readonly scopes?: readonly Scope[]
}

/** One token (its principal is `token:default`) or several. */
export type BearerTokenOptions = { readonly token: string } | { readonly tokens: readonly TokenEntry[] }

const maxTokenLength = 1024

const entrySchema = v.strictObject({
  id: v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be a name of letters, digits, '.', '_', '-'"),
  ),
  token: v.pipe(
    v.string(),
    v.minLength(1, "must not be empty"),
    v.maxLength(maxTokenLength, "must have at most 1,024 characters"),
    v.regex(/^[\x21-\x7e]*$/, "must be visible ASCII without spaces"),
    v.check((token) => !isPlaceholder(token), "must be a secret of your own, not a placeholder from an example"),
  ),
  scopes: v.optional(
    v.pipe(v.array(v.picklist(["read", "call", "operate", "admin"])), v.minLength(1, "must not be empty")),
    ["admin"],
  ),
})
const tokensSchema = v.pipe(v.array(entrySchema), v.minLength(1, "must not be empty"), v.maxLength(1024))

/**
 * Recognises `Authorization: Bearer <token>`, and `x-clarity-token` where there is no Authorization header at all.
 * A request with neither is left to the next authenticator; any other credentials are refused (`unauthorized`).
 * Throws ClarityError (`config_error`) for empty, malformed, repeated or placeholder tokens; no token appears in a message.
 */
export function bearerToken(options: BearerTokenOptions): Authenticator {
  const given = "token" in options ? [{ id: "default", token: options.token }] : options.tokens
  const entries = validate(tokensSchema, given, "config_error", "invalid auth token")
  for (const key of ["id", "token"] as const)
    if (new Set(entries.map((entry) => entry[key])).size < entries.length)
      throw new ClarityError("config_error", `invalid auth token: two tokens have the same ${key}`)
  const salt = randomBytes(32).toString("base64")
  // The time a look-up takes tells of a salted digest, and so nothing of a token.
  const digestOf = (token: string): string => hash("sha256", salt + token, "hex")
  const known = new Map(entries.map((entry) => [digestOf(entry.token), principalOf(entry)]))

  return {
    challenge: "Bearer",
    authenticate({ headers }) {
      const presented = presentedToken(headers)
      if (presented === undefined) return undefined
      const principal =
        presented === "" || presented.length > maxTokenLength ? undefined : known.get(digestOf(presented))
      if (principal === undefined) throw new ClarityError("unauthorized", "unauthorized")
      return principal
    },
  }
}

function principalOf(entry: v.InferOutput<typeof entrySchema>): Principal {
  return Object.freeze({ id: `token:${entry.id}`, kind: "token", scopes: Object.freeze([...entry.scopes]) })
}
