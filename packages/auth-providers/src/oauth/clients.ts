import { ClarityError, type LoginFlow, type LoginWish } from "@clarity-runtime/contracts"
import * as oauth from "oauth4webapi"
import type { AuthHttp } from "./auth-http.ts"
import { serverError } from "./failures.ts"
import type { Client, LoginBook, Registration } from "./login-book.ts"

export interface FoundClient {
  readonly client: Client
  /** Set when it was registered just now: to be stored. */
  readonly registration?: Registration
}

const grants: Readonly<Record<LoginFlow, readonly string[]>> = {
  browser: ["authorization_code", "refresh_token"],
  device: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
  client_credentials: ["client_credentials"],
}

/**
 * The client to log in as: the operator's own, one registered at this very issuer before, else a new registration
 * (RFC 7591). Throws ClarityError.
 */
export async function clientFor(
  server: oauth.AuthorizationServer,
  { flow, clientId, clientSecretRef }: LoginWish,
  redirectUri: string | undefined,
  book: LoginBook,
  http: AuthHttp,
): Promise<FoundClient> {
  if (clientId !== undefined) {
    const secretRef = clientSecretRef
    if (secretRef === undefined) return { client: { clientId, method: "none" } }
    return { client: { clientId, secretRef, method: methodOf(server.token_endpoint_auth_methods_supported) } }
  }
  if (flow === "client_credentials")
    throw new ClarityError("invalid_params", "logging in by client credentials needs the id and the secret of a client")
  const known = book.registrations.find(
    (one) => one.issuer === server.issuer && one.flow === flow && one.redirectUri === redirectUri,
  )
  if (known !== undefined) return { client: known.client }
  if (server.registration_endpoint === undefined)
    throw new ClarityError("invalid_params", `${server.issuer} registers no clients by itself`, {
      data: { hint: "register one there by hand and give its id: --client-id" },
    })
  const client = await register(server, flow, redirectUri, http)
  const registration = { issuer: server.issuer, flow, client, ...(redirectUri === undefined ? {} : { redirectUri }) }
  return { client, registration }
}

async function register(
  server: oauth.AuthorizationServer,
  flow: LoginFlow,
  redirectUri: string | undefined,
  http: AuthHttp,
): Promise<Client> {
  try {
    const response = await oauth.dynamicClientRegistrationRequest(
      server,
      {
        client_name: "Clarity Runtime",
        application_type: "native",
        grant_types: [...grants[flow]],
        token_endpoint_auth_method: "none",
        redirect_uris: redirectUri === undefined ? [] : [redirectUri],
        response_types: flow === "browser" ? ["code"] : [],
      },
      { [oauth.customFetch]: http.fetch, [oauth.allowInsecureRequests]: true },
    )
    const given = await oauth.processDynamicClientRegistrationResponse(response)
    const clientId = given.client_id
    const { client_secret: secretGiven, token_endpoint_auth_method: methodGiven } = given
    const secret = typeof secretGiven === "string" ? secretGiven : undefined
    if (clientId === "" || clientId.length > 2048 || (secret?.length ?? 0) > 8192)
      throw new ClarityError("upstream_invalid", "the authorization server gave a client of unreasonable size")
    if (secret === undefined || methodGiven === "none") return { clientId, method: "none" }
    return { clientId, secret, method: methodOf(typeof methodGiven === "string" ? [methodGiven] : undefined) }
  } catch (thrown) {
    throw serverError(thrown, "registering a client")
  }
}

/** How a client with a secret shows it; the RFCs' default is basic. */
function methodOf(supported: readonly string[] | undefined): Client["method"] {
  if (supported === undefined || supported.includes("client_secret_basic")) return "client_secret_basic"
  if (supported.includes("client_secret_post")) return "client_secret_post"
  throw new ClarityError("upstream_invalid", "the authorization server takes no client secret in a way known here")
}
