import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** Is told of a request; true: it has answered it itself. */
export type Intercept = (request: IncomingMessage, body: string, response: ServerResponse) => boolean

/** Servers whose refusals hold secrets of their own. */
export function failures(plant: (name: string) => string): Record<string, Intercept> {
  const answering =
    (status: number, headers: Record<string, string>, body: string): Intercept =>
    (request, text, response) => {
      if (request.method !== "POST" || !text.includes("tools/call")) return false
      response.writeHead(status, headers).end(body)
      return true
    }
  const json = { "content-type": "application/json" }
  const challenge = { "www-authenticate": `Bearer realm="${plant("the challenge of a 401")}"` }
  return {
    failing_500: answering(
      500,
      { "set-cookie": `session=${plant("a cookie of a failing server")}` },
      `stack: ${plant("the body of a 500")}`,
    ),
    failing_401: answering(401, challenge, plant("the body of a 401")),
    failing_html: answering(200, { "content-type": "text/html" }, `<p>${plant("a page where JSON belongs")}</p>`),
    failing_json: answering(200, json, `{"jsonrpc": "2.0", "result": "${plant("half an answer")}`),
    failing_move: answering(302, { location: `http://127.0.0.1:1/?token=${plant("the address of a redirect")}` }, ""),
  }
}

/** An authorization server for programs, as small as can be, and the gate of a service that believes its token only. */
export interface Oauth extends AsyncDisposable {
  readonly issuer: string
  readonly gate: Intercept
}

export async function oauthServers(options: {
  readonly access: string
  readonly refresh: string
  heard(request: string): void
}): Promise<Oauth> {
  let issuer = ""
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      const body = decodeURIComponent(Buffer.concat(chunks).toString())
      options.heard(`${request.url}\n${JSON.stringify(request.rawHeaders)}\n${body}`)
      const token = {
        access_token: options.access,
        refresh_token: options.refresh,
        token_type: "Bearer",
        expires_in: 3600,
      }
      const metadata = {
        issuer,
        token_endpoint: `${issuer}/token`,
        authorization_endpoint: `${issuer}/authorize`,
        grant_types_supported: ["client_credentials"],
        response_types_supported: ["code"],
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["client_secret_post"],
      }
      const answer = request.url?.startsWith("/token") ? token : metadata
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    issuer,
    gate(request, _body, response) {
      const origin = `http://${request.headers.host}`
      if (request.url?.startsWith("/.well-known/oauth-protected-resource")) {
        const metadata = { resource: `${origin}/mcp`, authorization_servers: [issuer] }
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(metadata))
        return true
      }
      if (request.headers.authorization === `Bearer ${options.access}`) return false
      const where = `${origin}/.well-known/oauth-protected-resource/mcp`
      response.writeHead(401, { "www-authenticate": `Bearer resource_metadata="${where}"` }).end()
      return true
    },
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
