import type { ServerResponse } from "node:http"
import { manifest, remote, type Daemon } from "../../test/e2e/support/daemon.ts"
import { post } from "../../test/e2e/support/mcp.ts"
import { json, serveSite, type Site, type Visit } from "./authority.ts"
import { answer as answerRpc, said, type Asked } from "./rogue.ts"
import type { Stand } from "./stand.ts"

export interface Parts {
  readonly challenge?: (url: string) => string | undefined
  readonly resource?: (url: string) => object
  readonly server?: (url: string) => object
  readonly token?: (visit: Visit, response: ServerResponse) => void
  /** Access tokens that the endpoint takes. */
  readonly takes?: (authorization: string) => boolean
}

/** An MCP endpoint that wants a login, and its own authorization server; every part may lie. */
export async function serveLogin(stand: Stand, parts: Parts): Promise<Site> {
  const site: Site = await serveSite((visit, response) => {
    const { path, headers, body } = visit
    const { url } = site
    if (path === "/mcp") {
      if (headers.authorization !== undefined && parts.takes?.(headers.authorization)) return mcp(response, body)
      const challenge = parts.challenge === undefined ? "Bearer" : parts.challenge(url)
      return void response.writeHead(401, challenge === undefined ? {} : { "www-authenticate": challenge }).end()
    }
    if (path === "/.well-known/oauth-protected-resource/mcp")
      return json(response, { resource: `${url}/mcp`, authorization_servers: [url], ...parts.resource?.(url) })
    if (path === "/.well-known/oauth-authorization-server")
      return json(response, {
        issuer: url,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        registration_endpoint: `${url}/register`,
        device_authorization_endpoint: `${url}/device`,
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
        ...parts.server?.(url),
      })
    if (path === "/register") return json(response, { client_id: "client" }, 201)
    if (path === "/token" && parts.token !== undefined) return parts.token(visit, response)
    response.writeHead(404).end()
  })
  return stand.own(site)
}

function mcp(response: ServerResponse, body: string): void {
  const asked = (body === "" ? {} : JSON.parse(body)) as Asked
  if (asked.id === undefined) return void response.writeHead(202).end()
  const results: Record<string, object> = {
    initialize: {
      result: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "x", version: "1" } },
    },
    "tools/list": { result: { tools: [{ name: "work", inputSchema: { type: "object" } }] } },
    "tools/call": said("done"),
    ping: { result: {} },
  }
  answerRpc(response, asked, results[asked.method ?? ""] ?? { error: { code: -32601, message: "no" } })
}

export async function register(daemon: Daemon, site: Site, name = "logging"): Promise<string> {
  const { service } = await daemon.client.applyManifest({
    manifest: {
      ...manifest(name, remote(`${site.url}/mcp`, { authRef: "oauth:" }), { era: "legacy", autostart: false }),
    },
  })
  return service.serviceId
}

/** Begins a login; what the API says: the status and the words. */
export async function begin(
  daemon: Daemon,
  id: string,
  wish: object = {},
): Promise<{ status: number; text: string; url: string; login: string }> {
  const response = await post(`${daemon.url}/api/services/${id}/login`, JSON.stringify(wish))
  const text = await response.text()
  const { login } = JSON.parse(text) as { login?: { url?: string; id?: string } }
  return { status: response.status, text, url: login?.url ?? "", login: login?.id ?? "" }
}

export const paths = ({ visits }: Site) => visits.map(({ path }) => path)
export const good = { access_token: "access-CANARY", token_type: "Bearer", expires_in: 600 }
