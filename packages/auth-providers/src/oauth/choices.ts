import { ClarityError, type LoginWish } from "@clarity-runtime/contracts"
import * as oauth from "oauth4webapi"
import type { AuthHttp } from "./auth-http.ts"
import { scopesIn } from "./challenge.ts"
import type { ResourceFacts } from "./discovery.ts"
import type { Client, LoginBook } from "./login-book.ts"

/** The endpoint of a wish that makes sense. Throws `invalid_params`. */
export function checkedWish({ endpoint, clientId, clientSecretRef, issuer, scopes = [] }: LoginWish): URL {
  const url = URL.parse(endpoint)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new ClarityError("invalid_params", "the endpoint is no URL")
  url.hash = ""
  if (issuer !== undefined && !/^https?:$/.test(URL.parse(issuer)?.protocol ?? ""))
    throw new ClarityError("invalid_params", "the issuer is no http or https URL")
  if (scopesIn(scopes.join(" ")).length !== new Set(scopes).size)
    throw new ClarityError("invalid_params", "a scope has characters no scope can have")
  if (clientSecretRef !== undefined && clientId === undefined)
    throw new ClarityError("invalid_params", "a client's secret is of no use without the client's id")
  if (clientSecretRef !== undefined && issuer === undefined)
    throw new ClarityError(
      "invalid_params",
      "a client's secret goes to one authorization server only: say which, as issuer",
      {
        data: { hint: "name the authorization server where this client is registered: --issuer https://..." },
      },
    )
  return url
}

/** The one to log in at. What the service names is the service's word: where there is a choice, an operator makes it. */
export function issuerFor({ issuers }: ResourceFacts, wish: LoginWish, book: LoginBook): string {
  const same = (a: string, b: string) => a === b || URL.parse(a)?.href === URL.parse(b)?.href
  const named = issuers.map((issuer) => issuer.slice(0, 200)).join(", ")
  if (wish.issuer !== undefined) {
    const typed = wish.issuer
    const found = issuers.find((issuer) => same(issuer, typed))
    if (found !== undefined) return found
    throw new ClarityError(
      "invalid_params",
      `the service does not name ${typed} as its authorization server, but ${named}`,
    )
  }
  const [first] = issuers
  if (first !== undefined && issuers.length === 1) return first
  const before = book.logins.find(({ serviceId }) => serviceId === wish.serviceId)?.issuer
  const again = issuers.find((issuer) => before !== undefined && same(issuer, before))
  if (again !== undefined) return again
  throw new ClarityError("invalid_params", `the service names several authorization servers: ${named}`, {
    data: { hint: "choose one: --issuer" },
  })
}

/** As wished, else as the service asks; with what it takes to be renewed where the server offers that by name. */
export function scopesFor(
  facts: ResourceFacts,
  { scopes, flow }: LoginWish,
  server: oauth.AuthorizationServer,
): readonly string[] {
  const wanted = scopes ?? facts.scopes
  const offline = flow !== "client_credentials" && server.scopes_supported?.includes("offline_access") === true
  return offline ? [...new Set([...wanted, "offline_access"])].slice(0, 64) : wanted
}

/** Where a person's browser is sent. Throws `upstream_invalid` when that would not be safe. */
export async function authorizationUrl(
  server: oauth.AuthorizationServer,
  http: AuthHttp,
  { clientId }: Client,
  wish: { state: string; verifier: string; redirectUri: string; scopes: readonly string[]; resource: string },
): Promise<string> {
  const url = http.check(server.authorization_endpoint, "the authorization_endpoint")
  if (server.code_challenge_methods_supported?.includes("S256") !== true)
    throw new ClarityError(
      "upstream_invalid",
      `${server.issuer} does not offer PKCE with S256, without which a login is not safe`,
    )
  const parameters: Record<string, string> = {
    response_type: "code",
    client_id: clientId,
    redirect_uri: wish.redirectUri,
    state: wish.state,
    code_challenge: await oauth.calculatePKCECodeChallenge(wish.verifier),
    code_challenge_method: "S256",
    resource: wish.resource,
  }
  if (wish.scopes.length > 0) parameters["scope"] = wish.scopes.join(" ")
  // Without a person's consent there is no offline access (OpenID Connect Core, 11).
  if (wish.scopes.includes("offline_access")) parameters["prompt"] = "consent"
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.href
}
