import { hash, randomBytes } from "node:crypto"
import { join } from "node:path"
import {
  ClarityError,
  systemClock,
  validate,
  type Authenticator,
  type Clock,
  type Principal,
  type Scope,
  type TokenInfo,
  type TokenStore,
  type TokenWish,
} from "@clarity-runtime/contracts"
import { createDocument, Damaged, type FileSystem } from "@clarity-runtime/state"
import * as v from "valibot"
import { presentedToken } from "./presented.ts"

export interface TokensOptions {
  /** Folder of the state; tokens are in `tokens.json`, as hashes. */
  readonly dir: string
  /** There is another way in for an administrator, so that tokens may be limited ones from the first. */
  readonly otherAdmin?: boolean
  readonly clock?: Pick<Clock, "now">
  /** For tests of what happens when the disk fails. */
  readonly fs?: FileSystem
}

export interface Tokens extends TokenStore, AsyncDisposable {
  /** Lets in whoever shows one of the tokens; everybody else is left to the next. */
  readonly authenticator: Authenticator
  /** Tokens there are, expired ones included. */
  readonly size: number
  /** Aborted as long as there are tokens: what was opened without one while there were none ends with the first. */
  readonly none: AbortSignal
  /** What an operator should know of the file, oldest first. */
  readonly notices: readonly string[]
}

const most = 1000
const tokenName = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, "must match [a-z0-9][a-z0-9_-]{0,63}"),
  v.check((name) => name !== "default", "is the name of the token given at the start"),
)
const scope = v.picklist(["read", "call", "operate", "admin"])
const pattern = v.pipe(
  v.string(),
  v.maxLength(200),
  v.regex(/^[^\s/]+(?:\/[^\s/]+)?$/, "must be `service` or `service/tool`, with * for any characters"),
)
const isoTime = v.pipe(v.string(), v.isoTimestamp("must be a time such as 2027-01-31T00:00:00Z"))
/** Some that look like one (an offset of hours alone) are none to the clock, and would never be over. */
const readable = (text: string) => Number.isFinite(Date.parse(text))
const wishEntries = {
  name: tokenName,
  scopes: v.pipe(v.array(scope), v.minLength(1, "must name at least one scope"), v.maxLength(4)),
  reach: v.optional(v.pipe(v.array(pattern), v.minLength(1, "must not be empty"), v.maxLength(64))),
  expiresAt: v.optional(isoTime),
}
const wishSchema = v.strictObject({
  ...wishEntries,
  expiresAt: v.optional(v.pipe(isoTime, v.check(readable, "must be a time such as 2027-01-31T00:00:00Z"))),
})
const storedSchema = v.strictObject({
  ...wishEntries,
  digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  createdAt: isoTime,
  lastUsedAt: v.optional(isoTime),
})
const bodySchema = v.looseObject({ tokens: v.pipe(v.array(storedSchema), v.maxLength(most)) })

type Stored = v.InferOutput<typeof storedSchema>

/** A token as it is looked up: what it stands for, and what ends with it. */
interface Held {
  readonly stored: Stored
  readonly principal: Principal
  readonly ending: AbortController
  lastUsed: number | undefined
}

/**
 * Opens the tokens of a workspace. Values have 256 random bits and are known to their holders alone: here lie SHA-256
 * hashes, by which they are looked up. Throws ClarityError `storage_error` when the file is there and cannot be read:
 * nobody is let in then.
 */
export async function createTokens({
  dir,
  otherAdmin = false,
  clock = systemClock,
  fs,
}: TokensOptions): Promise<Tokens> {
  const document = await createDocument<readonly Stored[]>({
    path: join(dir, "tokens.json"),
    version: 1,
    clock,
    // Damage must not bring back a token that was revoked a moment ago.
    twin: "same",
    snapshots: 0,
    ...(fs === undefined ? {} : { fs }),
    empty: () => [],
    parse(body) {
      const read = v.safeParse(bodySchema, body)
      if (!read.success) throw new Damaged("is not a list of tokens")
      return read.output.tokens
    },
    serialize: (tokens) => ({ tokens }),
  })
  let held = new Map<string, Held>()
  let none = new AbortController()
  hold()

  /** Makes what is stored what is let in. What is gone ends at once, with everything opened by it. */
  function hold(): void {
    const before = held
    held = new Map(document.value.map((stored) => [stored.digest, before.get(stored.digest) ?? heldOf(stored)]))
    for (const [digest, { ending }] of before) if (!held.has(digest)) ending.abort()
    if (held.size > 0) none.abort()
    else if (none.signal.aborted) none = new AbortController()
  }

  async function change(edit: (tokens: readonly Stored[]) => readonly Stored[]): Promise<void> {
    const used = new Map([...held.values()].map(({ stored, lastUsed }) => [stored.digest, lastUsed]))
    await document.update((tokens) =>
      edit(tokens).map((token) => {
        const at = used.get(token.digest)
        return at === undefined ? token : { ...token, lastUsedAt: new Date(at).toISOString() }
      }),
    )
    hold()
  }

  function list(): readonly TokenInfo[] {
    return [...held.values()].map(({ stored, lastUsed }) => infoOf(stored, lastUsed)).toReversed()
  }

  return {
    list,
    notices: document.notices,
    get size() {
      return held.size
    },
    get none() {
      return none.signal
    },

    async create(wish) {
      const asked = checked(wish, clock.now())
      const token = `clarity_${randomBytes(32).toString("base64url")}`
      const stored: Stored = { ...asked, digest: digestOf(token), createdAt: new Date(clock.now()).toISOString() }
      await change((tokens) => {
        if (tokens.some(({ name }) => name === asked.name))
          throw new ClarityError("conflict", `there is a token ${asked.name} already; revoke it first`)
        if (tokens.length >= most) throw new ClarityError("conflict", `there are ${most} tokens already`)
        if (!otherAdmin && !tokens.some(keepsTheKey) && !keepsTheKey(stored))
          throw new ClarityError(
            "conflict",
            "from the first token on nobody is let in without one: make one for yourself first, with the scope admin, all services and no end (clarityctl token create me --scope admin)",
          )
        return [...tokens, stored]
      })
      return { info: infoOf(stored, undefined), token }
    },

    async revoke(name) {
      let gone: Stored | undefined
      await change((tokens) => {
        gone = tokens.find((token) => token.name === name)
        if (gone === undefined) throw new ClarityError("not_found", `there is no token ${String(name).slice(0, 64)}`)
        const rest = tokens.filter((token) => token !== gone)
        if (!otherAdmin && rest.length > 0 && !rest.some(keepsTheKey))
          throw new ClarityError(
            "conflict",
            `${name} is the last token of an administrator: revoke the others first, or make another one`,
          )
        return rest
      })
      return infoOf(gone as unknown as Stored, undefined)
    },

    authenticator: {
      authenticate({ headers }) {
        if (held.size === 0) return undefined
        const presented = presentedToken(headers)
        if (presented === undefined || presented === "") return undefined
        // Looking up a hash tells whoever measures it nothing about a value of 256 random bits.
        const found = held.get(digestOf(presented))
        if (found === undefined) return undefined
        const now = clock.now()
        if (found.principal.expiresAt !== undefined && found.principal.expiresAt <= now) return undefined
        found.lastUsed = now
        return found.principal
      },
    },

    [Symbol.asyncDispose]: () => document[Symbol.asyncDispose](),
  }
}

function heldOf(stored: Stored): Held {
  const ending = new AbortController()
  const { name, scopes, reach, expiresAt, lastUsedAt } = stored
  const principal: Principal = Object.freeze({
    id: `token:${name}`,
    kind: "token",
    scopes: Object.freeze([...scopes]),
    ...(reach === undefined ? {} : { reach: Object.freeze([...reach]) }),
    // An end nobody can read is over.
    ...(expiresAt === undefined ? {} : { expiresAt: Date.parse(expiresAt) || 0 }),
    ends: ending.signal,
  })
  return { stored, principal, ending, lastUsed: lastUsedAt === undefined ? undefined : Date.parse(lastUsedAt) }
}

/** With such a token nobody locks himself out: it may do everything, everywhere, for ever. */
function keepsTheKey({ scopes, reach, expiresAt }: Stored): boolean {
  return scopes.includes("admin") && reach === undefined && expiresAt === undefined
}

function checked(wish: TokenWish, now: number) {
  const asked = validate(wishSchema, wish, "invalid_params", "invalid token")
  if (asked.expiresAt !== undefined && Date.parse(asked.expiresAt) <= now)
    throw new ClarityError("invalid_params", "invalid token: expiresAt is in the past")
  return asked
}

function infoOf(stored: Stored, lastUsed: number | undefined): TokenInfo {
  const { digest: _digest, reach, expiresAt, lastUsedAt: _stored, ...rest } = stored
  const scopes: readonly Scope[] = stored.scopes
  return {
    ...rest,
    scopes,
    ...(reach === undefined ? {} : { reach }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(lastUsed === undefined ? {} : { lastUsedAt: new Date(lastUsed).toISOString() }),
  }
}

function digestOf(token: string): string {
  return hash("sha256", token, "hex")
}
