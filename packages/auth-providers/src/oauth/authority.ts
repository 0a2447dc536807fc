import { ClarityError } from "@clarity-runtime/contracts"
import * as oauth from "oauth4webapi"
import type { AuthHttp } from "./auth-http.ts"
import { scopesIn } from "./challenge.ts"
import { serverError } from "./failures.ts"
import type { Client } from "./login-book.ts"

/** What a token response gave, checked. */
export interface Tokens {
  readonly accessToken: string
  readonly refreshToken?: string
  /** As granted; absent: as asked for. */
  readonly scopes?: readonly string[]
  readonly lifetimeMs?: number
}

export interface DeviceCode {
  readonly deviceCode: string
  readonly userCode: string
  readonly url: string
  readonly expiresInMs: number
  readonly intervalMs: number
}

/** One authorization server, spoken to as one client, for one resource. Every method throws ClarityError. */
export interface Authority {
  /** Checks the answer that came by the browser (state, issuer) and exchanges its code. */
  exchange(answer: URLSearchParams, state: string, redirectUri: string, verifier: string): Promise<Tokens>
  refresh(refreshToken: string): Promise<Tokens>
  clientCredentials(scopes: readonly string[]): Promise<Tokens>
  device(scopes: readonly string[]): Promise<DeviceCode>
  /** Undefined: the person has not decided yet; "slower": asked too often. */
  poll(deviceCode: string): Promise<Tokens | "slower" | undefined>
  /** Does nothing where the server has no way to. */
  revoke(token: string): Promise<void>
}

export interface AuthorityParts {
  readonly http: AuthHttp
  readonly server: oauth.AuthorizationServer
  readonly client: Client
  /** The secret of a client whose operator keeps it. */
  readonly secret: string | undefined
  readonly resource: string
}

/** Ten years: who says more does not mean it. */
const longestSeconds = 315_360_000
const tokenPattern = /^[\x21-\x7e]{1,16384}$/

export function authority({ http, server, client, secret, resource }: AuthorityParts): Authority {
  const as = server
  const me: oauth.Client = { client_id: client.clientId }
  // Addresses are checked by `http`, where plain http may have been typed.
  const options = { [oauth.customFetch]: http.fetch, [oauth.allowInsecureRequests]: true } as const
  const target = { additionalParameters: { resource } }
  const authentication = authenticationOf(client, secret)

  async function asked<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (thrown) {
      throw serverError(thrown, what)
    }
  }

  return {
    exchange: (answer, state, redirectUri, verifier) =>
      asked("the login", async () => {
        const checked = oauth.validateAuthResponse(as, me, answer, state)
        const response = await oauth.authorizationCodeGrantRequest(
          as,
          me,
          authentication,
          checked,
          redirectUri,
          verifier,
          {
            ...options,
            ...target,
          },
        )
        return tokensIn(await oauth.processAuthorizationCodeResponse(as, me, response))
      }),

    refresh: (refreshToken) =>
      asked("renewing the login", async () => {
        const response = await oauth.refreshTokenGrantRequest(as, me, authentication, refreshToken, {
          ...options,
          ...target,
        })
        return tokensIn(await oauth.processRefreshTokenResponse(as, me, response))
      }),

    clientCredentials: (scopes) =>
      asked("the login", async () => {
        const parameters = new URLSearchParams({ resource })
        if (scopes.length > 0) parameters.set("scope", scopes.join(" "))
        const response = await oauth.clientCredentialsGrantRequest(as, me, authentication, parameters, options)
        return tokensIn(await oauth.processClientCredentialsResponse(as, me, response))
      }),

    device: (scopes) =>
      asked("the login", async () => {
        const parameters = new URLSearchParams({ resource })
        if (scopes.length > 0) parameters.set("scope", scopes.join(" "))
        const response = await oauth.deviceAuthorizationRequest(as, me, authentication, parameters, options)
        const given = await oauth.processDeviceAuthorizationResponse(as, me, response)
        const page = given.verification_uri_complete ?? given.verification_uri
        if (!/^[\x20-\x7e]{1,64}$/.test(given.user_code)) throw invalid("a user code nobody can type")
        return {
          deviceCode: given.device_code,
          userCode: given.user_code,
          url: http.check(page, "the page for the code").href,
          expiresInMs: Math.min(given.expires_in, 1800) * 1000,
          intervalMs: Math.min(Math.max(given.interval ?? 5, 1), 60) * 1000,
        }
      }),

    async poll(deviceCode) {
      try {
        const response = await oauth.deviceCodeGrantRequest(as, me, authentication, deviceCode, {
          ...options,
          ...target,
        })
        return tokensIn(await oauth.processDeviceCodeResponse(as, me, response))
      } catch (thrown) {
        if (thrown instanceof oauth.ResponseBodyError && thrown.error === "authorization_pending") return undefined
        if (thrown instanceof oauth.ResponseBodyError && thrown.error === "slow_down") return "slower"
        throw serverError(thrown, "the login")
      }
    },

    revoke: (token) =>
      asked("ending the login", async () => {
        if (as.revocation_endpoint === undefined) return
        await oauth.processRevocationResponse(await oauth.revocationRequest(as, me, authentication, token, options))
      }),
  }
}

function authenticationOf({ method, secret: registered }: Client, kept: string | undefined): oauth.ClientAuth {
  const secret = kept ?? registered
  if (method === "none" || secret === undefined) return oauth.None()
  return method === "client_secret_post" ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret)
}

function tokensIn(response: oauth.TokenEndpointResponse): Tokens {
  const {
    access_token: accessToken,
    refresh_token: refreshToken,
    expires_in: seconds,
    scope,
    token_type: type,
  } = response
  if (type !== "bearer") throw invalid("a token that is not a Bearer token")
  if (!tokenPattern.test(accessToken)) throw invalid("a token that no header can carry")
  if (refreshToken !== undefined && !tokenPattern.test(refreshToken)) throw invalid("a malformed refresh token")
  if (seconds !== undefined && !(seconds >= 1 && seconds <= longestSeconds)) throw invalid("a lifetime that is none")
  return {
    accessToken,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    ...(scope === undefined ? {} : { scopes: scopesIn(scope) }),
    ...(seconds === undefined ? {} : { lifetimeMs: seconds * 1000 }),
  }
}

function invalid(what: string): ClarityError {
  return new ClarityError("upstream_invalid", `the authorization server gave ${what}`, {
    data: { reason: "invalid_answer" },
  })
}
