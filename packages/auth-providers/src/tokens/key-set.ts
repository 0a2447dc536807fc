import { ClarityError, isJsonObject, parseJson, systemClock, type Clock } from "@clarity-runtime/contracts"
import type { Outbound } from "@clarity-runtime/outbound"
import type { createLocalJWKSet, CryptoKey, FlattenedJWSInput, JWSHeaderParameters } from "jose"

export interface KeySetOptions {
  /** The authorization server, as the operator typed it. */
  readonly issuer: string
  /** Where its keys are; absent: its metadata says so (RFC 8414, OpenID Connect Discovery). */
  readonly jwksUri?: string
  readonly outbound: Outbound
  readonly clock?: Pick<Clock, "monotonic">
}

/** Finds the key of a token. A `kid` is only ever compared with the `kid` of keys. */
export type KeyFinder = (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>

const maxBytes = 262_144
const maxKeys = 100
const idleMs = 5000
/** Keys are asked for anew after this long, and for a key that is not among them as often as this. */
const freshMs = 600_000
const cooldownMs = 30_000
/** While there are no keys at all; what comes in between is answered without a request. */
const retryMs = 1000

/**
 * The keys of an issuer, fetched when they are first needed, by one request however many calls wait. Throws
 * `unavailable` when they cannot be had: whoever needs them is not let in, and told to come back.
 */
export function createKeySet({ issuer, jwksUri, outbound, clock = systemClock }: KeySetOptions): KeyFinder {
  let keys: ReturnType<typeof createLocalJWKSet> | undefined
  let fetchedAt = 0
  let triedAt: number | undefined
  let fetching: Promise<void> | undefined

  async function fetchKeys(): Promise<void> {
    triedAt = clock.monotonic()
    const set = await read(outbound, new URL(jwksUri ?? (await discover(outbound, issuer))))
    const listed = Array.isArray(set["keys"]) ? set["keys"].filter(isJsonObject) : []
    if (listed.length > maxKeys) throw new Error(`the issuer has more than ${maxKeys} keys`)
    const jose = await import("jose")
    keys = jose.createLocalJWKSet({ keys: listed as { kty: string }[] })
    fetchedAt = clock.monotonic()
  }

  function refresh(): Promise<void> {
    fetching ??= fetchKeys().finally(() => (fetching = undefined))
    return fetching.catch((cause: unknown) => {
      throw noKeys(cause)
    })
  }

  return async (header, token) => {
    const now = clock.monotonic()
    if (keys === undefined) {
      if (fetching === undefined && triedAt !== undefined && now - triedAt < retryMs) throw noKeys()
      await refresh()
    }
    // Old keys are good while new ones cannot be had.
    else if (now - fetchedAt > freshMs && now - (triedAt ?? 0) > cooldownMs) await refresh().catch(() => undefined)
    if (keys === undefined) throw noKeys()
    try {
      return await keys(header, token)
    } catch (thrown) {
      const { errors } = await import("jose")
      if (!(thrown instanceof errors.JWKSNoMatchingKey) || clock.monotonic() - (triedAt ?? 0) < cooldownMs) throw thrown
      await refresh()
      return keys(header, token)
    }
  }
}

function noKeys(cause?: unknown): ClarityError {
  const data = { reason: "keys", retryAfterMs: 5000 }
  return new ClarityError("unavailable", "the keys of the authorization server cannot be read", { data, cause })
}

/** Where the issuer's metadata says its keys are. The metadata must be the issuer's own (RFC 8414, section 3.3). */
async function discover(outbound: Outbound, issuer: string): Promise<string> {
  const base = new URL(issuer)
  const path = base.pathname.replace(/\/$/, "")
  const places = [
    `${base.origin}/.well-known/oauth-authorization-server${path}`,
    `${base.origin}${path}/.well-known/openid-configuration`,
  ]
  let problem: unknown
  for (const place of places) {
    try {
      const metadata = await read(outbound, new URL(place))
      if (metadata["issuer"] !== issuer) throw new Error("the metadata is another issuer's")
      const { jwks_uri: uri } = metadata
      if (typeof uri !== "string" || URL.parse(uri)?.origin === undefined) throw new Error("the metadata names no keys")
      return uri
    } catch (thrown) {
      problem ??= thrown
    }
  }
  throw problem
}

async function read(outbound: Outbound, url: URL) {
  const response = await outbound.request({
    method: "GET",
    url,
    headers: { accept: "application/json", "user-agent": "clarity-runtime" },
    signal: AbortSignal.timeout(2 * idleMs),
    idleMs,
    maxBytes,
    // The operator typed the issuer; where its metadata sends us is the issuer's affair, whom we trust with all identities.
    reach: "any",
  })
  if (response.status !== 200) {
    response.discard()
    throw new Error(`answered ${response.status}`)
  }
  const value = parseJson(await response.text())
  if (!isJsonObject(value)) throw new Error("answered with no JSON object")
  return value
}
