import { createHmac, generateKeyPairSync, sign } from "node:crypto"
import { mkdirSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import { callTool, messagesOf, send, textOf } from "./support/mcp.ts"
import { stage, stdioActor } from "./support/stage.ts"

const resource = "https://runtime.example/mcp"
const metadataUrl = "https://runtime.example/.well-known/oauth-protected-resource/mcp"
const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
const jwk = { ...publicKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "ES256" }
const pem = publicKey.export({ type: "spki", format: "pem" })

let issuer: string
let server: Server
let daemon: Daemon
let down = true

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
const seconds = () => Math.floor(Date.now() / 1000)
const claims = (more: object = {}) => ({ iss: issuer, aud: resource, sub: "alice", exp: seconds() + 300, ...more })
function token(payload: object, header: object = {}): string {
  const text = `${part({ alg: "ES256", kid: "one", typ: "at+jwt", ...header })}.${part(payload)}`
  return `${text}.${sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`
}
const bearer = (value: string) => ({ authorization: `Bearer ${value}` })

beforeAll(async () => {
  server = createServer((request, response) => {
    if (down) return void response.writeHead(503).end()
    response.setHeader("content-type", "application/json")
    if (request.url === "/.well-known/oauth-authorization-server")
      return void response.end(JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` }))
    if (request.url === "/keys") return void response.end(JSON.stringify({ keys: [jwk] }))
    response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const workspace = temporaryDirectory()
  mkdirSync(join(workspace, ".clarity"))
  writeFileSync(join(workspace, ".clarity", "clarityd.json"), JSON.stringify({ oauth: { issuer, resource } }))
  daemon = await startDaemon({ workspace })
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  server.close()
  server.closeAllConnections()
})

describe("a daemon that takes tokens of an authorization server", () => {
  it("AUTH-01: says where to get one, and serves nobody without, this machine included", async () => {
    for (const response of [await fetch(`${daemon.url}/api/status`), await send(daemon.url, "modern", "tools/list")])
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([
        401,
        `Bearer resource_metadata="${metadataUrl}"`,
      ])
    for (const path of ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]) {
      const response = await fetch(daemon.url + path)
      expect([path, response.status]).toEqual([path, 200])
      expect(await response.json()).toMatchObject({ resource, authorization_servers: [issuer] })
      expect((await fetch(daemon.url + path, { headers: { origin: "http://evil.example" } })).status).toBe(403)
    }
  })

  it("AUTH-05: lets nobody in while the server's keys cannot be had, and says so", async () => {
    const response = await fetch(`${daemon.url}/api/status`, { headers: bearer(token(claims())) })
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"])
    expect(await response.json()).toMatchObject({ code: "unavailable", reason: "keys" })
    down = false
    // Asked for anew a second later.
    const headers = bearer(token(claims({ scope: "clarity:read" })))
    await expect
      .poll(async () => (await fetch(`${daemon.url}/api/status`, { headers })).status, { timeout: 10_000 })
      .toBe(200)
  })

  it("serves who shows a good one, under the name the server gave", async () => {
    const admin = bearer(token(claims({ scope: "clarity:admin" })))
    const body = JSON.stringify({
      manifest: manifest("acting", stdioActor(stage(daemon.workspace, "acting"))),
      startNow: true,
    })
    const applied = await fetch(`${daemon.url}/api/services/apply`, {
      method: "POST",
      headers: { ...admin, "content-type": "application/json" },
      body,
    })
    expect(applied.status).toBe(200)
    const robot = bearer(token(claims({ sub: "bob", scope: "openid mcp clarity:read" })))
    expect(textOf(await callTool(daemon.url, "acting__echo", { text: "hi" }, { headers: robot }))).toBe("hi")
    const audit = await fetch(`${daemon.url}/api/audit?kind=mcp.tool_called`, { headers: robot })
    expect(await audit.json()).toMatchObject({ items: [{ data: { principal: "user:bob" } }] })
  })

  it("challenges who lacks a scope, by the server's name of it", async () => {
    const headers = bearer(token(claims({ scope: "clarity:read" })))
    const call = await send(daemon.url, "modern", "tools/call", { name: "acting__echo" }, { headers })
    const api = await fetch(`${daemon.url}/api/config/reload`, { method: "POST", headers })
    const challenge = (scope: string) =>
      `Bearer resource_metadata="${metadataUrl}", error="insufficient_scope", scope="${scope}"`
    expect([call.status, call.headers.get("www-authenticate")]).toEqual([403, challenge("mcp")])
    expect([api.status, api.headers.get("www-authenticate")]).toEqual([403, challenge("clarity:admin")])
    expect((await messagesOf(call))[0]).toMatchObject({ error: { data: { reason: "insufficient_scope" } } })
  })

  it.each([
    ["no signature", () => `${part({ alg: "none" })}.${part(claims())}.`],
    [
      "the public key as a secret",
      () => {
        const text = `${part({ alg: "HS256", kid: "one" })}.${part(claims())}`
        return `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`
      },
    ],
    ["another issuer", () => token(claims({ iss: "https://evil.example" }))],
    ["another audience", () => token(claims({ aud: "https://other.example/mcp" }))],
    ["an end beyond the skew", () => token(claims({ exp: seconds() - 70 }))],
    ["a beginning to come", () => token(claims({ nbf: seconds() + 120 }))],
    ["a key id that is a path", () => token(claims(), { kid: "../../x" })],
    ["a key id for a database", () => token(claims(), { kid: "1' OR 1=1 --" })],
  ])("AUTH-04: refuses one with %s", async (_name, make) => {
    const headers = bearer(make())
    for (const response of [
      await fetch(`${daemon.url}/api/status`, { headers }),
      await send(daemon.url, "modern", "tools/list", {}, { headers }),
    ])
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([
        401,
        `Bearer resource_metadata="${metadataUrl}", error="invalid_token"`,
      ])
  })
})
