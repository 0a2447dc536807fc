import { ClarityError, isJsonObject, parseJson, type JsonObject } from "@clarity-runtime/contracts"
import type { OutboundResponse } from "@clarity-runtime/outbound"
import * as oauth from "oauth4webapi"
import * as v from "valibot"
import type { AuthHttp } from "./auth-http.ts"
import { readChallenge, scopesIn } from "./challenge.ts"
import { serverError } from "./failures.ts"

/** What a protected MCP server says of its authorization. */
export interface ResourceFacts {
  /** The identifier tokens are asked for (RFC 8707). */
  readonly resource: string
  /** Authorization servers it names, in its order. */
  readonly issuers: readonly string[]
  readonly scopes: readonly string[]
}

const metadataSchema = v.looseObject({
  resource: v.pipe(v.string(), v.maxLength(2048)),
  authorization_servers: v.pipe(v.array(v.pipe(v.string(), v.maxLength(2048))), v.minLength(1), v.maxLength(16)),
  scopes_supported: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(256))),
})

/**
 * Protected resource metadata (RFC 9728): where a challenge of the endpoint points to, else at the well-known places.
 * Without any, the endpoint's own origin is taken for the authorization server (MCP 2025-03-26). Throws ClarityError.
 */
export async function discoverResource(http: AuthHttp, endpoint: URL): Promise<ResourceFacts> {
  const challenge = readChallenge(await challengeOf(http, endpoint))
  const place = challenge.resourceMetadata
  const path = endpoint.pathname.replace(/\/$/, "")
  const places =
    place === undefined
      ? [...new Set([wellKnown + path, wellKnown])].map((known) => new URL(known, endpoint))
      : [http.check(place, "the address of the resource metadata, as the service gives it,")]
  for (const url of places) {
    const found = await document(http, url, "the resource metadata")
    if (found === undefined) continue
    const read = v.safeParse(metadataSchema, found)
    if (!read.success) throw invalid("the resource metadata is not as RFC 9728 has it")
    const { resource, authorization_servers: issuers, scopes_supported: supported } = read.output
    checkResource(resource, endpoint)
    return { resource, issuers, scopes: challenge.scopes ?? scopesIn(supported?.join(" ")) }
  }
  if (place !== undefined) throw invalid("the resource metadata is not where the service says it is")
  return { resource: endpoint.href, issuers: [endpoint.origin], scopes: challenge.scopes ?? [] }
}

const wellKnown = "/.well-known/oauth-protected-resource"

/** What the endpoint says to a request without credentials. */
async function challengeOf(http: AuthHttp, endpoint: URL): Promise<string | undefined> {
  try {
    const response = await http.send({
      method: "POST",
      url: endpoint,
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }),
    })
    response.discard()
    return response.status === 401 ? response.headers["www-authenticate"] : undefined
  } catch (thrown) {
    throw serverError(thrown, "asking the service how to log in")
  }
}

/** A token for another resource must never be asked for: same origin, and at or above the endpoint's path. */
function checkResource(resource: string, endpoint: URL): void {
  const url = URL.parse(resource)
  const path = url?.pathname.replace(/\/$/, "")
  const fits =
    url !== null &&
    url.origin === endpoint.origin &&
    url.hash === "" &&
    (endpoint.pathname === path || endpoint.pathname.startsWith(`${path}/`))
  if (!fits) throw invalid("the resource metadata is about another resource than the endpoint")
}

/**
 * Metadata of an authorization server (RFC 8414, OpenID Connect discovery). It must call itself by the very issuer it
 * was asked for, and every address in it is checked. Throws ClarityError.
 */
export async function discoverServer(http: AuthHttp, issuer: string): Promise<oauth.AuthorizationServer> {
  const url = http.check(issuer, "the issuer")
  const path = url.pathname.replace(/\/$/, "")
  const places = [
    `/.well-known/oauth-authorization-server${path}`,
    `/.well-known/openid-configuration${path}`,
    ...(path === "" ? [] : [`${path}/.well-known/openid-configuration`]),
  ]
  for (const place of places) {
    const found = await document(http, new URL(place, url), "the metadata of the authorization server")
    if (found === undefined) continue
    const server = await oauth
      .processDiscoveryResponse(url, Response.json(found))
      .catch((thrown: unknown) => Promise.reject(serverError(thrown, `the metadata of ${url.origin}`)))
    for (const key of endpoints) if (server[key] !== undefined) http.check(server[key], `${key} of ${url.origin}`)
    if (server.token_endpoint === undefined) throw invalid(`${url.origin} has no token_endpoint`)
    return server
  }
  throw invalid(`${url.origin} is no authorization server: it has no metadata`)
}

const endpoints = [
  "authorization_endpoint",
  "token_endpoint",
  "registration_endpoint",
  "device_authorization_endpoint",
  "revocation_endpoint",
] as const

/** A JSON object at that address; undefined when there is none. */
async function document(http: AuthHttp, url: URL, what: string): Promise<JsonObject | undefined> {
  let response: OutboundResponse
  let text: string
  try {
    response = await http.send({ method: "GET", url, headers: { accept: "application/json" } })
    if (response.status !== 200) {
      response.discard()
      if (response.status >= 500)
        throw new ClarityError("unavailable", `${what} at ${url.origin} cannot be had (HTTP ${response.status})`)
      return undefined
    }
    text = await response.text()
  } catch (thrown) {
    throw serverError(thrown, `${what} at ${url.origin}`)
  }
  let found: unknown
  try {
    found = parseJson(text)
  } catch {
    throw invalid(`${what} at ${url.origin} is not JSON`)
  }
  if (!isJsonObject(found)) throw invalid(`${what} at ${url.origin} is no JSON object`)
  return found
}

function invalid(message: string): ClarityError {
  return new ClarityError("upstream_invalid", message, { data: { reason: "invalid_metadata" } })
}
