import {
  asClarityError,
  ClarityError,
  systemClock,
  type Clock,
  type CredentialTarget,
  type Login,
  type LoginDesk,
  type LoginWish,
  type Registry,
} from "@clarity-runtime/contracts"
import type { Outbound } from "@clarity-runtime/outbound"
import * as oauth from "oauth4webapi"
import type { UpstreamTokens } from "../credentials.ts"
import type { KeySource } from "../key-source.ts"
import { removedServices } from "../removed-services.ts"
import { authHttp, type AuthHttp } from "./auth-http.ts"
import { authority, type Authority, type Tokens } from "./authority.ts"
import { authorizationUrl, checkedWish, issuerFor, scopesFor } from "./choices.ts"
import { clientFor } from "./clients.ts"
import { discoverResource, discoverServer } from "./discovery.ts"
import { answerMs, serverError } from "./failures.ts"
import { heldTokens } from "./held-tokens.ts"
import { createLoginStore, type HeldLogin, type LoginBook } from "./login-book.ts"
import { waitingLogins } from "./waiting-logins.ts"

export interface LoginsOptions {
  /** Folder of the state; logins are in `logins.sealed`. */
  readonly dir: string
  readonly key: KeySource
  readonly outbound: Outbound
  /** Where the browser comes back to; asked when a login begins. */
  redirectUri(): string
  /** Looks up the secret of a client for the origin it is sent to: `Credentials.secret`. */
  secret(secretRef: string, target: CredentialTarget): Promise<string>
  /** A service has been logged in. */
  readonly loggedIn?: (serviceId: string) => void
  readonly clock?: Clock
  /** 0 to 1; spreads renewals. */
  readonly random?: () => number
}

/** Logins at upstreams' authorization servers, and the tokens they gave. */
export interface Logins extends LoginDesk, UpstreamTokens, AsyncDisposable {
  /** Forgets the login of every service that is removed from now on. Ends with the signal. */
  follow(registry: Pick<Registry, "snapshot" | "changes">, signal: AbortSignal): Promise<void>
  /** What an operator should know of the file; why it cannot be opened. */
  readonly notices: readonly string[]
}

/** What a browser login waits with, by its `state`. */
interface AtBrowser {
  readonly login: Login
  readonly verifier: string
  readonly redirectUri: string
  readonly authority: (signal: AbortSignal) => Promise<Authority>
  readonly held: HeldBase
}

type HeldBase = Omit<HeldLogin, "accessToken" | "refreshToken" | "obtainedAt" | "expiresAt" | "problem">

/**
 * Never throws: a file that cannot be opened is told by `notices`, and by every use of a login until it can.
 * Disposing gives up what is under way.
 */
export async function createLogins(options: LoginsOptions): Promise<Logins> {
  const { outbound, clock = systemClock, random = Math.random } = options
  const store = createLoginStore(options.dir, options.key, clock)
  await store.open().catch(() => undefined) // Told by `notices`.
  const life = new AbortController()
  const waiting = waitingLogins(clock)
  const atBrowser = new Map<string, AtBrowser>()
  const tokens = heldTokens({ store, clock, random, authorityOf })

  function bounded(signal?: AbortSignal): AbortSignal {
    return AbortSignal.any([life.signal, AbortSignal.timeout(answerMs), ...(signal === undefined ? [] : [signal])])
  }

  function httpFor(typed: readonly string[], signal?: AbortSignal): AuthHttp {
    return authHttp({ outbound, typed: typed.map((url) => new URL(url)), signal: bounded(signal) })
  }

  /** The secret goes to the token endpoint: that is what it is bound to. */
  async function authorityFor(
    server: oauth.AuthorizationServer,
    { serviceId, client, resource }: Pick<HeldBase, "serviceId" | "client" | "resource">,
    http: AuthHttp,
  ): Promise<Authority> {
    const origin = new URL(server.token_endpoint ?? server.issuer).origin
    const { secretRef } = client
    const secret = secretRef === undefined ? undefined : await options.secret(secretRef, { serviceId, origin })
    return authority({ http, server, client, secret, resource })
  }

  async function authorityOf(login: HeldLogin): Promise<Authority> {
    const http = httpFor(login.typed)
    return authorityFor(await discoverServer(http, login.issuer), login, http)
  }

  async function hold(base: HeldBase, given: Tokens): Promise<void> {
    const now = clock.now()
    const held: HeldLogin = {
      ...base,
      scopes: [...(given.scopes ?? base.scopes)],
      accessToken: given.accessToken,
      ...(given.refreshToken === undefined ? {} : { refreshToken: given.refreshToken }),
      ...(given.lifetimeMs === undefined ? {} : { expiresAt: now + given.lifetimeMs }),
      obtainedAt: now,
    }
    await store.update((book) => ({
      ...book,
      logins: [...book.logins.filter(({ serviceId }) => serviceId !== held.serviceId), held],
    }))
    options.loggedIn?.(held.serviceId)
  }

  function failed(id: string, thrown: unknown): ClarityError {
    const error = asClarityError(thrown, "the login failed")
    waiting.end(id, { state: "failed", problem: error.message.slice(0, 500) })
    return error
  }

  async function atDevice(
    login: Login,
    code: { deviceCode: string; intervalMs: number },
    base: HeldBase,
    server: oauth.AuthorizationServer,
  ): Promise<void> {
    let pause = code.intervalMs
    while (waiting.get(login.id)?.state === "waiting") {
      await clock.sleep(pause, life.signal)
      if (life.signal.aborted || waiting.get(login.id)?.state !== "waiting") return
      const given = await poll(code.deviceCode, base, server)
      if (given === "slower") pause += 5000
      else if (given !== undefined) {
        await hold(base, given)
        waiting.end(login.id, { state: "done" })
      }
    }
  }

  async function poll(
    deviceCode: string,
    base: HeldBase,
    server: oauth.AuthorizationServer,
  ): Promise<Tokens | "slower" | undefined> {
    try {
      return await (await authorityFor(server, base, httpFor(base.typed))).poll(deviceCode)
    } catch (thrown) {
      if (thrown instanceof ClarityError && thrown.entry.retryable) return "slower"
      throw thrown
    }
  }

  async function begin(wish: LoginWish, signal: AbortSignal): Promise<Login> {
    const book = await store.open()
    const { serviceId, flow } = wish
    const endpoint = checkedWish(wish)
    const typed = [endpoint.href, ...(wish.issuer === undefined ? [] : [wish.issuer])]
    const http = httpFor(typed, signal)
    const facts = await discoverResource(http, endpoint)
    const server = await discoverServer(http, issuerFor(facts, wish, book))
    const scopes = scopesFor(facts, wish, server)
    const redirectUri = flow === "browser" ? options.redirectUri() : undefined
    const found = await clientFor(server, wish, redirectUri, book, http)
    const { registration } = found
    if (registration !== undefined)
      await store.update((now) => ({ ...now, registrations: [...now.registrations, registration] }))
    const base: HeldBase = {
      serviceId,
      issuer: server.issuer,
      resource: facts.resource,
      origin: endpoint.origin,
      typed,
      flow,
      scopes: [...scopes],
      client: found.client,
    }
    const seen = { serviceId, flow, issuer: server.issuer }

    if (flow === "client_credentials") {
      const given = await (await authorityFor(server, base, http)).clientCredentials(scopes)
      await hold(base, given)
      return waiting.end(waiting.add(seen).id, { state: "done" })
    }
    if (flow === "device") {
      if (server.device_authorization_endpoint === undefined)
        throw new ClarityError("invalid_params", `${server.issuer} has no login for devices`)
      const code = await (await authorityFor(server, base, http)).device(scopes)
      const login = waiting.add({ ...seen, url: code.url, userCode: code.userCode }, code.expiresInMs)
      atDevice(login, code, base, server).catch((thrown: unknown) => failed(login.id, thrown))
      return login
    }
    const state = oauth.generateRandomState()
    const verifier = oauth.generateRandomCodeVerifier()
    const url = await authorizationUrl(server, http, found.client, {
      state,
      verifier,
      redirectUri: redirectUri ?? "",
      scopes,
      resource: facts.resource,
    })
    const login = waiting.add({ ...seen, url })
    for (const [key, { login: old }] of atBrowser) if (waiting.get(old.id)?.state !== "waiting") atBrowser.delete(key)
    atBrowser.set(state, {
      login,
      verifier,
      redirectUri: redirectUri ?? "",
      held: base,
      authority: (until) => authorityFor(server, base, httpFor(typed, until)),
    })
    return login
  }

  async function callback(query: URLSearchParams, signal: AbortSignal): Promise<Login> {
    const states = query.getAll("state")
    const [state = ""] = states
    const found = atBrowser.get(state)
    // Good for one time, whatever comes of it.
    atBrowser.delete(state)
    if (found === undefined || states.length !== 1)
      throw new ClarityError("invalid_params", "this login is unknown, was finished already, or is too old")
    const { login, verifier, redirectUri, held } = found
    if (waiting.get(login.id)?.state !== "waiting") throw new ClarityError("invalid_params", "this login is too old")
    try {
      const given = await (await found.authority(signal)).exchange(query, state, redirectUri, verifier)
      await hold(held, given)
      return waiting.end(login.id, { state: "done" })
    } catch (thrown) {
      const error = failed(login.id, thrown)
      throw error.code === "storage_error" ? error : new ClarityError("invalid_params", error.message, { cause: error })
    }
  }

  return {
    headers: (target, refused) => tokens.headers(target, refused),
    get: (id) => waiting.get(id),
    begin: (wish, signal) =>
      begin(wish, signal).catch((thrown: unknown) => Promise.reject(serverError(thrown, "the login"))),
    callback,
    get notices() {
      return store.notices
    },

    list: () =>
      store.book.logins.toReversed().map(({ serviceId, issuer, resource, scopes, expiresAt, problem, ...rest }) => ({
        serviceId,
        issuer,
        resource,
        scopes,
        renewable: rest.refreshToken !== undefined || (rest.flow === "client_credentials" && problem === undefined),
        ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() }),
        ...(problem === undefined ? {} : { problem }),
      })),

    async logout(serviceId, signal) {
      const { logins } = await store.open()
      const login = logins.find((one) => one.serviceId === serviceId)
      if (login === undefined) return false
      await store.update((book) => without(book, new Set([serviceId])))
      const token = login.refreshToken ?? login.accessToken
      if (token === undefined) return true
      try {
        const http = httpFor(login.typed, signal)
        await (await authorityFor(await discoverServer(http, login.issuer), login, http)).revoke(token)
      } catch (thrown) {
        // Forgotten here; that the server could not be told changes nothing for us.
        if (!(thrown instanceof ClarityError)) throw thrown
      }
      return true
    },

    async follow(registry, signal) {
      const gone = new Set<string>()
      for await (const removed of removedServices(registry, signal)) {
        for (const id of removed) gone.add(id)
        try {
          await store.update((book) => without(book, gone))
          gone.clear()
        } catch (error) {
          // A login without its service is of no use to anybody; tried again with the next removal.
          if (!(error instanceof ClarityError)) throw error
        }
      }
    },

    async [Symbol.asyncDispose]() {
      life.abort(new ClarityError("cancelled", "the runtime is stopping"))
      await store[Symbol.asyncDispose]()
    },
  }
}

/** Without these services' logins, and without clients that are of no more use. */
function without(book: LoginBook, gone: ReadonlySet<string>): LoginBook {
  const logins = book.logins.filter(({ serviceId }) => !gone.has(serviceId))
  if (logins.length === book.logins.length) return book
  const issuers = new Set(logins.map(({ issuer }) => issuer))
  return { logins, registrations: book.registrations.filter(({ issuer }) => issuers.has(issuer)) }
}
