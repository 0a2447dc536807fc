import {
  asClarityError,
  ClarityError,
  type Clock,
  type CredentialTarget,
  type RefusedCredential,
} from "@clarity-runtime/contracts"
import type { UpstreamTokens } from "../credentials.ts"
import type { Headers } from "../kept-headers.ts"
import type { Authority, Tokens } from "./authority.ts"
import { readChallenge } from "./challenge.ts"
import { notLoggedIn } from "./failures.ts"
import type { HeldLogin, LoginStore } from "./login-book.ts"

export interface HeldTokensOptions {
  readonly store: LoginStore
  readonly clock: Clock
  /** The server a login belongs to, and no other. Throws ClarityError. */
  authorityOf(login: HeldLogin): Promise<Authority>
  /** 0 to 1. */
  readonly random: () => number
}

/** A token is on its way for a while. */
const travelMs = 2000
/** What was renewed because of a refusal and is refused again is not renewed again before that. */
const calmMs = 30_000
const longestPauseMs = 60_000

/**
 * Access tokens for requests, renewed before they end: by one request to the authorization server however many callers
 * there are, stored durably before anybody gets the new one.
 */
export function heldTokens({ store, clock, authorityOf, random }: HeldTokensOptions): UpstreamTokens {
  const headersOfLogin = new WeakMap<HeldLogin, Headers>()
  const dueOfLogin = new WeakMap<HeldLogin, number>()
  const renewals = new Map<string, Promise<HeldLogin>>()
  const pauses = new Map<string, { readonly failures: number; readonly until: number; readonly error: ClarityError }>()
  const forced = new Map<string, number>()
  /** Renewed, but not on disk yet: the old refresh token may be worthless by now. */
  const unsaved = new Map<string, { readonly from: HeldLogin; readonly next: HeldLogin }>()

  function headersOf(login: HeldLogin): Headers {
    let headers = headersOfLogin.get(login)
    if (headers === undefined) {
      headers = Object.freeze({ authorization: `Bearer ${login.accessToken}` })
      headersOfLogin.set(login, headers)
    }
    return headers
  }

  /** When to renew, in epoch milliseconds: some time before the end, not for all services at the same moment. */
  function dueAt(login: HeldLogin): number {
    if (login.expiresAt === undefined) return Infinity
    let due = dueOfLogin.get(login)
    if (due === undefined) {
      const lifetime = Math.max(0, login.expiresAt - login.obtainedAt)
      due = login.expiresAt - Math.min(300_000, lifetime * 0.2) * (0.5 + 0.5 * random())
      dueOfLogin.set(login, due)
    }
    return due
  }

  function current({ serviceId }: CredentialTarget): HeldLogin | undefined {
    return store.book.logins.find((login) => login.serviceId === serviceId)
  }

  function usable(target: CredentialTarget): HeldLogin {
    const login = current(target)
    const name = target.name ?? target.serviceId
    if (login === undefined) throw notLoggedIn(name, `${name} is not logged in`)
    if (login.origin !== target.origin) throw notLoggedIn(name, `${name} was logged in for another address`)
    if (login.problem !== undefined || login.accessToken === undefined)
      throw notLoggedIn(name, `${name} is logged in no more: ${login.problem ?? "no token"}`)
    return login
  }

  /** One renewal at a time for each service; whoever comes meanwhile gets the same. */
  function renewed(login: HeldLogin, target: CredentialTarget, scopes = login.scopes): Promise<HeldLogin> {
    const { serviceId } = login
    let renewal = renewals.get(serviceId)
    if (renewal === undefined) {
      renewal = renew(login, target, scopes).finally(() => renewals.delete(serviceId))
      renewals.set(serviceId, renewal)
    }
    return renewal
  }

  async function renew(login: HeldLogin, target: CredentialTarget, scopes: readonly string[]): Promise<HeldLogin> {
    const { serviceId } = login
    const name = target.name ?? serviceId
    const pause = pauses.get(serviceId)
    if (pause !== undefined && clock.monotonic() < pause.until) throw pause.error
    try {
      const left = unsaved.get(serviceId)
      const next = left?.from === login ? left.next : merged(login, await fresh(login, scopes, name), clock.now())
      unsaved.set(serviceId, { from: login, next })
      const book = await store.update(replacing(login, next))
      unsaved.delete(serviceId)
      pauses.delete(serviceId)
      if (!book.logins.includes(next)) throw notLoggedIn(name, `${name} was logged out meanwhile`)
      return next
    } catch (thrown) {
      const error = asClarityError(thrown, "the login could not be renewed")
      if (error.data.reason === "invalid_grant") {
        const problem = "its authorization server does not renew it (invalid_grant)"
        const { accessToken: _, refreshToken: __, ...rest } = login
        await store.update(replacing(login, { ...rest, problem }))
        throw notLoggedIn(name, `${name} is logged in no more: ${problem}`)
      }
      const failures = (pause?.failures ?? 0) + 1
      const pauseMs = Math.min(longestPauseMs, 1000 * 2 ** (failures - 1)) * (0.75 + 0.5 * random())
      if (error.data.reason !== "login_needed")
        pauses.set(serviceId, { failures, until: clock.monotonic() + pauseMs, error })
      throw error
    }
  }

  async function fresh(login: HeldLogin, scopes: readonly string[], name: string): Promise<Tokens> {
    const { flow, refreshToken } = login
    if (flow !== "client_credentials" && refreshToken === undefined)
      throw notLoggedIn(name, `the login of ${name} has ended and cannot be renewed`)
    const authority = await authorityOf(login)
    if (refreshToken !== undefined && flow !== "client_credentials") return authority.refresh(refreshToken)
    return { scopes, ...(await authority.clientCredentials(scopes)) }
  }

  async function afterRefusal(
    login: HeldLogin,
    target: CredentialTarget,
    refused: RefusedCredential,
  ): Promise<Headers> {
    const headers = headersOf(login)
    if (refused.sent !== undefined && refused.sent["authorization"] !== headers["authorization"]) return headers
    const { serviceId } = login
    const name = target.name ?? serviceId
    const before = forced.get(serviceId)
    if (before !== undefined && clock.monotonic() - before < calmMs) return headers
    const { error, scopes = [] } = readChallenge(refused.challenge)
    let wanted = login.scopes
    if (error === "insufficient_scope") {
      wanted = [...new Set([...login.scopes, ...scopes])]
      if (login.flow !== "client_credentials") {
        const more = wanted.length === 0 ? "" : ` --scope "${wanted.join(" ")}"`
        throw notLoggedIn(name, `the login of ${name} does not reach far enough`, more)
      }
      // Asked for before, and of no use: asking again would go on for ever.
      if (wanted.length === login.scopes.length) return headers
    }
    const next = await renewed(login, target, wanted)
    forced.set(serviceId, clock.monotonic())
    return headersOf(next)
  }

  return {
    async headers(target, refused) {
      await store.open()
      const login = usable(target)
      if (refused !== undefined) return afterRefusal(login, target, refused)
      const now = clock.now()
      if (now < dueAt(login)) return headersOf(login)
      if (login.expiresAt === undefined || now < login.expiresAt - travelMs) {
        // It is good for a while: whoever comes later gets the new one. What goes wrong is told when it is needed.
        const renewable = login.refreshToken !== undefined || login.flow === "client_credentials"
        if (renewable) renewed(login, target).catch(() => undefined)
        return headersOf(login)
      }
      return headersOf(await renewed(login, target))
    },
  }
}

/** A login with what its renewal gave; what the server left out stays as it was (RFC 6749, 6). */
function merged(login: HeldLogin, tokens: Tokens, now: number): HeldLogin {
  const { expiresAt: _, ...rest } = login
  return {
    ...rest,
    accessToken: tokens.accessToken,
    ...(tokens.refreshToken === undefined ? {} : { refreshToken: tokens.refreshToken }),
    ...(tokens.scopes === undefined ? {} : { scopes: [...tokens.scopes] }),
    ...(tokens.lifetimeMs === undefined ? {} : { expiresAt: now + tokens.lifetimeMs }),
    obtainedAt: now,
  }
}

/** Puts the next one in the place of the one it came from; a newer login or a logout meanwhile wins. */
function replacing(old: HeldLogin, next: HeldLogin) {
  return <T extends { readonly logins: readonly HeldLogin[] }>(book: T): T =>
    book.logins.includes(old) ? { ...book, logins: book.logins.map((login) => (login === old ? next : login)) } : book
}
