// oxlint-disable-next-line typescript/triple-slash-reference -- declares a module that brings no types
/// <reference path="./oidc-provider.d.ts" />
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Provider } from "oidc-provider"

export interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: string
}

export interface TestServer extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string
  readonly seen: Seen[]
}

/** An HTTP server on a free port that remembers what it was asked. */
export async function serve(answer: (seen: Seen, response: ServerResponse) => unknown): Promise<TestServer> {
  const seen: Seen[] = []
  return listening(async (request, response) => {
    let body = ""
    for await (const chunk of request.setEncoding("utf8")) body += String(chunk)
    const one = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body }
    seen.push(one)
    await answer(one, response)
  }, seen)
}

async function listening(listener: RequestListener, seen: Seen[]): Promise<TestServer> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value))
}

export interface AuthorizationServer extends TestServer {
  readonly provider: Provider
  /** Requests at the token endpoint, by grant type, in order. */
  readonly grants: string[]
  /** Answers 503 to everything. */
  away: boolean
  /** Forgets all grants, as an administrator there may. */
  forget(): Promise<void>
  /** Is this token good for that resource? */
  good(token: string, resource: string): Promise<{ readonly scopes: readonly string[] } | undefined>
}

export interface AuthorizationServerOptions {
  /** Seconds an access token lives. */
  readonly lifetime?: number
  readonly clients?: readonly object[]
}

const resourceScopes = "notes:read notes:write"

/** A real authorization server (oidc-provider): PKCE, registration, devices, client credentials, rotation. People say yes at once. */
export async function authorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  const { lifetime = 3600, clients = [] } = options
  let handler: RequestListener = () => {}
  const grants: string[] = []
  const granted: string[] = []
  const seen: Seen[] = []
  const server = await listening((request, response) => {
    seen.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers, body: "" })
    handler(request, response)
  }, seen)
  const provider = new Provider(server.url, {
    clients,
    cookies: { keys: ["a test's key"] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    scopes: ["offline_access"],
    claims: {},
    clientAuthMethods: ["none", "client_secret_basic", "client_secret_post"],
    findAccount: (_context: unknown, accountId: string) => ({ accountId, claims: () => ({ sub: accountId }) }),
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    ttl: {
      AccessToken: lifetime,
      ClientCredentials: lifetime,
      RefreshToken: 86_400,
      Grant: 86_400,
      Session: 86_400,
      Interaction: 600,
      AuthorizationCode: 60,
      DeviceCode: 600,
    },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => ({
          scope: resourceScopes,
          audience: resource,
          accessTokenFormat: "opaque",
          accessTokenTTL: lifetime,
        }),
        useGrantedResource: () => true,
      },
    },
  })
  const asProvider = provider.callback()
  provider.on("grant.success", (context) => grants.push(String(grantType(context))))
  provider.on("grant.error", (context) => grants.push(`${String(grantType(context))} refused`))
  handler = (request, response) => {
    if (made.away) response.writeHead(503).end()
    else if (request.url?.startsWith("/interaction/")) void sayYes(provider, request, response, granted)
    else asProvider(request, response)
  }
  const made: AuthorizationServer = {
    ...server,
    provider,
    grants,
    away: false,
    async forget() {
      for (const id of granted) await (await provider.Grant.find(id))?.destroy()
    },
    async good(token, resource) {
      const found = (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token))
      if (found?.isValid !== true || ![found.aud].flat().includes(resource)) return undefined
      return { scopes: (found.scope ?? "").split(" ") }
    },
  }
  return made
}

function grantType(context: unknown): unknown {
  return (context as { oidc: { params?: { grant_type?: string } } }).oidc.params?.grant_type
}

async function sayYes(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
  granted: string[],
): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(request, response)
  if (prompt.name === "login") return provider.interactionFinished(request, response, { login: { accountId: "ada" } })
  const grant = new provider.Grant({ accountId: session?.accountId ?? "ada", clientId: params["client_id"] ?? "" })
  const scopes = (params["scope"] ?? "").split(" ")
  grant.addOIDCScope(scopes.filter((scope) => ["openid", "offline_access"].includes(scope)).join(" "))
  const { resource } = params
  if (resource !== undefined)
    grant.addResourceScope(resource, scopes.filter((scope) => resourceScopes.includes(scope)).join(" "))
  const grantId = await grant.save()
  granted.push(grantId)
  await provider.interactionFinished(request, response, { consent: { grantId } })
}

/** An MCP endpoint that wants a token of that server: answers `{jsonrpc, id, result: {}}`, and 401 or 403 otherwise. */
export async function protectedServer(
  issuers: () => readonly string[],
  check: (token: string, resource: string) => Promise<{ readonly scopes: readonly string[] } | undefined>,
  metadata: object = {},
): Promise<TestServer> {
  const server = await serve(async ({ path, headers, body }, response) => {
    const resource = `${server.url}/mcp`
    if (path === "/.well-known/oauth-protected-resource/mcp")
      return json(response, {
        resource,
        authorization_servers: issuers(),
        scopes_supported: ["notes:read"],
        ...metadata,
      })
    if (path !== "/mcp") return response.writeHead(404).end()
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1]
    const granted = token === undefined ? undefined : await check(token, resource)
    const challenge = `Bearer resource_metadata="${server.url}/.well-known/oauth-protected-resource/mcp"`
    if (granted === undefined) return response.writeHead(401, { "www-authenticate": challenge }).end()
    const { id, method } = JSON.parse(body) as { id: unknown; method: string }
    if (method === "write" && !granted.scopes.includes("notes:write"))
      return response
        .writeHead(403, { "www-authenticate": `Bearer error="insufficient_scope", scope="notes:write"` })
        .end()
    return json(response, { jsonrpc: "2.0", id, result: {} })
  })
  return server
}

/** Goes where a browser would go, keeping cookies and sending forms off, until it would leave for `stop`; gives that URL, or the last page. */
export async function browse(start: string, stop = "\0"): Promise<string> {
  const cookies = new Map<string, string>()
  let url = start
  let form: URLSearchParams | undefined
  for (let step = 0; step < 20; step++) {
    if (url.startsWith(stop)) return url
    const response: Response = await fetch(url, {
      redirect: "manual",
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") },
      ...(form === undefined ? {} : { method: "POST", body: form }),
    })
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      if (value === "") cookies.delete(name)
      else cookies.set(name, value)
    }
    const location = response.headers.get("location")
    const text = await response.text()
    form = undefined
    if (location !== null) url = new URL(location, url).href
    else {
      const inputs = [...text.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)"/g)]
      if (inputs.length === 0) return text
      url = new URL(/<form[^>]* action="([^"]+)"/.exec(text)?.[1] ?? "", url).href
      form = new URLSearchParams(inputs.map(([, name = "", value = ""]): [string, string] => [name, value]))
    }
  }
  throw new Error("the browser goes round in circles")
}
