import { afterEach, beforeEach, describe, expect, test } from "vitest"
import {
  asked,
  failure,
  logIn,
  loginStage,
  redirectUri,
  signal,
  type LoginStage,
} from "../../test-support/login-stage.ts"
import { browse, json, protectedServer, serve, type Seen, type TestServer } from "../../test-support/servers.ts"
import { manualClock } from "@clarity-runtime/testkit"
import type { ServerResponse } from "node:http"
import type { Logins } from "./logins.ts"

let stage: LoginStage
beforeEach(() => {
  stage = loginStage()
})
afterEach(() => stage[Symbol.asyncDispose]())

/** An MCP endpoint that answers 401 with this challenge, and an authorization server that says what it is told. */
async function hostile(parts: {
  challenge?: (url: string) => string
  resource?: (url: string) => object
  server?: (url: string) => object
  answer?: (seen: Seen, response: ServerResponse) => unknown
}): Promise<TestServer & { endpoint: string }> {
  const server: TestServer = stage.own(
    await serve((seen, response) => {
      const { url } = server
      if (seen.path === "/mcp") {
        const challenge = parts.challenge?.(url)
        return response.writeHead(401, challenge === undefined ? {} : { "www-authenticate": challenge }).end()
      }
      if (seen.path === "/.well-known/oauth-protected-resource/mcp")
        return json(response, { resource: `${url}/mcp`, authorization_servers: [url], ...parts.resource?.(url) })
      if (seen.path === "/.well-known/oauth-authorization-server")
        return json(response, {
          issuer: url,
          authorization_endpoint: `${url}/authorize`,
          token_endpoint: `${url}/token`,
          registration_endpoint: `${url}/register`,
          device_authorization_endpoint: `${url}/device`,
          code_challenge_methods_supported: ["S256"],
          ...parts.server?.(url),
        })
      if (seen.path === "/register") return json(response, { client_id: "c" }, 201)
      return parts.answer === undefined ? response.writeHead(404).end() : parts.answer(seen, response)
    }),
  )
  return { ...server, endpoint: `${server.url}/mcp` }
}

const wishFor = (endpoint: string, more: object = {}) => ({
  serviceId: "svc_evil",
  endpoint,
  flow: "browser" as const,
  ...more,
})

describe("OAU-01: where metadata are said to be", () => {
  test.each([
    ["a cloud's metadata service", "http://169.254.169.254/latest/meta-data"],
    ["the same over https", "https://169.254.169.254/x"],
    ["a private address", "https://10.0.0.1/x"],
    ["a private address in disguise", "https://[::ffff:10.0.0.1]/x"],
    ["plain http", "http://metadata.example/x"],
    ["a file", "file:///etc/passwd"],
    ["with credentials", "https://user:pass@metadata.example/x"],
    ["4 kB", `https://metadata.example/${"x".repeat(4000)}`],
  ])("%s is not fetched", async (_name, url) => {
    const server = await hostile({ challenge: () => `Bearer resource_metadata="${url}"` })
    const error = await failure((await stage.desk()).begin(wishFor(server.endpoint), signal))
    expect(error.code).toBe("upstream_invalid")
    expect(error.message).not.toMatch(/meta-data|passwd|user:pass|xxx/)
    expect(server.seen.map(({ path }) => path)).toEqual(["/mcp"])
  })

  test("a redirect of metadata to another origin is not followed", async () => {
    const other = stage.own(await serve((_seen, response) => json(response, {})))
    const server = await hostile({
      challenge: (url) => `Bearer resource_metadata="${url}/elsewhere"`,
      answer: (_seen, response) => response.writeHead(302, { location: `${other.url}/x` }).end(),
    })
    expect((await failure((await stage.desk()).begin(wishFor(server.endpoint), signal))).code).toBe("upstream_invalid")
    expect(other.seen).toEqual([])
  })
})

describe("what metadata say", () => {
  test.each([
    ["another resource", { resource: () => ({ resource: "https://bank.example/mcp" }) }],
    ["a resource that only begins alike", { resource: (url: string) => ({ resource: `${url}/mc` }) }],
    ["no authorization server", { resource: () => ({ authorization_servers: [] }) }],
    ["seventeen", { resource: (url: string) => ({ authorization_servers: Array.from({ length: 17 }, () => url) }) }],
    ["one on a private address", { resource: () => ({ authorization_servers: ["https://10.0.0.1"] }) }],
    ["one by plain http", { resource: () => ({ authorization_servers: ["http://auth.example"] }) }],
    ["another issuer", { server: () => ({ issuer: "https://auth.example" }) }],
    ["no PKCE", { server: () => ({ code_challenge_methods_supported: undefined }) }],
    ["plain PKCE", { server: () => ({ code_challenge_methods_supported: ["plain"] }) }],
    ["no token endpoint", { server: () => ({ token_endpoint: undefined }) }],
    ["a token endpoint by plain http", { server: () => ({ token_endpoint: "http://auth.example/token" }) }],
    ["no authorization endpoint", { server: () => ({ authorization_endpoint: undefined }) }],
  ])("%s is refused", async (_name, parts) => {
    const server = await hostile(parts)
    expect((await failure((await stage.desk()).begin(wishFor(server.endpoint), signal))).code).toBe("upstream_invalid")
    expect(server.seen.map(({ path }) => path)).not.toContain("/token")
  })
})

describe("OAU-05: an authorization endpoint that is none", () => {
  test.each([
    "javascript:alert(1)",
    "file:///etc/passwd",
    "$(calc)",
    'a" & calc',
    "ms-settings:",
    "http://auth.example/authorize",
    `https://auth.example/${"x".repeat(10_000)}`,
    17,
  ])("%s", async (address) => {
    const server = await hostile({ server: () => ({ authorization_endpoint: address }) })
    const error = await failure((await stage.desk()).begin(wishFor(server.endpoint), signal))
    expect([error.code, error.message]).toEqual(["upstream_invalid", expect.stringContaining("authorization_endpoint")])
    expect(error.message).not.toMatch(/calc|passwd|alert/)
  })

  test.each([
    `https://auth.example/a?x="&calc|'$(id)`,
    "https://auth.example/a?client_id=evil&state=evil&resource=evil",
  ])("%s: what it brings along stays data", async (address) => {
    const server = await hostile({ server: () => ({ authorization_endpoint: address }) })
    const { url = "" } = await (await stage.desk()).begin(wishFor(server.endpoint), signal)
    expect(url).toMatch(/^https:\/\/auth\.example\/a\?[^\s"<>`\\]*$/)
    const query = new URL(url).searchParams
    expect([query.getAll("client_id"), query.getAll("resource")]).toEqual([["c"], [server.endpoint]])
  })

  test.each(["javascript:alert(1)", "http://auth.example/device"])("the page of a device: %s", async (address) => {
    const server = await hostile({
      answer: (_seen, response) =>
        json(response, { device_code: "d", user_code: "U", verification_uri: address, expires_in: 60 }),
    })
    const error = await failure((await stage.desk()).begin(wishFor(server.endpoint, { flow: "device" }), signal))
    expect(error.code).toBe("upstream_invalid")
  })
})

describe("OAU-04: what comes back by the browser", () => {
  async function underWay(clock = manualClock(Date.now())) {
    const here = await stage.servers()
    const logins = await stage.desk({ clock })
    const login = await logins.begin(here.wish(), signal)
    const back = new URL(await browse(login.url ?? "", redirectUri)).searchParams
    const tokenRequests = () => here.as.seen.filter(({ path }) => path === "/token").length
    return { here, logins, login, back, clock, tokenRequests }
  }
  const refused = async (logins: Logins, query: URLSearchParams) =>
    expect((await failure(logins.callback(query, signal))).code).toBe("invalid_params")

  test.each([
    ["no state", (query: URLSearchParams) => query.delete("state")],
    ["another state", (query: URLSearchParams) => query.set("state", "x".repeat(43))],
    ["two states", (query: URLSearchParams) => query.append("state", "x")],
    ["another issuer", (query: URLSearchParams) => query.set("iss", "https://evil.example")],
    ["no issuer", (query: URLSearchParams) => query.delete("iss")],
    ["two codes", (query: URLSearchParams) => query.append("code", "x")],
    ["no code", (query: URLSearchParams) => query.delete("code")],
    ["an error", (query: URLSearchParams) => query.set("error", "access_denied")],
  ])("%s: nothing is exchanged", async (_name, spoil) => {
    const { logins, back, tokenRequests } = await underWay()
    spoil(back)
    await refused(logins, back)
    expect([tokenRequests(), logins.list()]).toEqual([0, []])
  })

  test("the same a second time", async () => {
    const { logins, back, tokenRequests, login } = await underWay()
    await logins.callback(back, signal)
    await refused(logins, back)
    expect([tokenRequests(), logins.get(login.id)?.state]).toEqual([1, "done"])
  })

  test("a spoilt one first: the good one then comes too late", async () => {
    const { logins, back, tokenRequests } = await underWay()
    const spoilt = new URLSearchParams(back)
    spoilt.set("iss", "https://evil.example")
    await refused(logins, spoilt)
    await refused(logins, back)
    expect(tokenRequests()).toBe(0)
  })

  test("after ten minutes", async () => {
    const { logins, back, clock, tokenRequests, login } = await underWay()
    await clock.advance(600_001)
    await refused(logins, back)
    expect([tokenRequests(), logins.get(login.id)?.state]).toEqual([0, "failed"])
  })

  test("a code of another login", async () => {
    const { logins, back, here } = await underWay()
    const other = await logins.begin(here.wish({ serviceId: "svc_other" }), signal)
    back.set("state", new URL(other.url ?? "").searchParams.get("state") ?? "")
    await refused(logins, back)
    expect(logins.list()).toEqual([])
  })

  test("more logins than can be under way are refused, not kept", async () => {
    const { logins, here } = await underWay()
    for (let n = 1; n < 64; n++) await logins.begin(here.wish(), signal)
    expect((await failure(logins.begin(here.wish(), signal))).code).toBe("rate_limited")
  })
})

describe("OAU-06: token answers", () => {
  const good = { access_token: "canary-token", token_type: "Bearer", expires_in: 60 }
  test.each<[string, (response: ServerResponse) => unknown]>([
    ["5 MB", (response) => json(response, { ...good, x: "x".repeat(5_000_000) })],
    ["not JSON", (response) => response.writeHead(200, { "content-type": "application/json" }).end("{canary")],
    ["HTML", (response) => response.writeHead(200, { "content-type": "text/html" }).end("<b>canary</b>")],
    ["expires_in -1", (response) => json(response, { ...good, expires_in: -1 })],
    ["expires_in 0", (response) => json(response, { ...good, expires_in: 0 })],
    ["expires_in 1e99", (response) => json(response, { ...good, expires_in: 1e99 })],
    ["expires_in x", (response) => json(response, { ...good, expires_in: "x" })],
    ["token_type mac", (response) => json(response, { ...good, token_type: "mac" })],
    ["token_type DPoP", (response) => json(response, { ...good, token_type: "DPoP" })],
    ["no token", (response) => json(response, { token_type: "Bearer" })],
    ["a token with a line break", (response) => json(response, { ...good, access_token: "canary\r\nx: y" })],
    ["a token of 20 kB", (response) => json(response, { ...good, access_token: "x".repeat(20_000) })],
    ["a redirect", (response) => response.writeHead(307, { location: "https://evil.example/token" }).end()],
    ["an error with words", (response) => json(response, { error: "canary words", error_description: "canary" }, 400)],
    ["a broken connection", (response) => response.destroy()],
  ])("%s: an error, nothing kept, nothing shown", async (_name, answer) => {
    const server = await hostile({ answer: (_seen, response) => answer(response) })
    const logins = await stage.desk({ secret: async () => "s" })
    const wish = wishFor(server.endpoint, {
      flow: "client_credentials",
      clientId: "c",
      clientSecretRef: "env:S",
      issuer: server.url,
    })
    const error = await failure(logins.begin(wish, signal))
    expect(["upstream_invalid", "upstream_unauthorized", "unavailable", "result_too_large"]).toContain(error.code)
    expect(JSON.stringify([error.message, error.data])).not.toMatch(/canary|evil/)
    expect(logins.list()).toEqual([])
  })

  test("a lifetime as text is a number all the same; none means until it is refused", async () => {
    for (const [more, until] of [
      [{ expires_in: "3600" }, expect.any(String)],
      [{ expires_in: undefined }, undefined],
    ] as const) {
      const server = await hostile({ answer: (_seen, response) => json(response, { ...good, ...more }) })
      const logins = await stage.desk({ secret: async () => "s" })
      const client = { clientId: "c", clientSecretRef: "env:S", issuer: server.url }
      await logins.begin(wishFor(server.endpoint, { flow: "client_credentials", ...client }), signal)
      expect(logins.list().find(({ issuer }) => issuer === server.url)?.expiresAt).toEqual(until)
    }
  })
})

test("OAU-08: an upstream that never has enough scopes gets one renewal, then an error", async () => {
  const here = await stage.servers({
    clients: [
      {
        client_id: "ci",
        client_secret: "s",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
  })
  const logins = await stage.desk({ secret: async () => "s" })
  const client = { clientId: "ci", clientSecretRef: "env:S", issuer: here.as.url }
  await logins.begin(here.wish({ flow: "client_credentials", ...client }), signal)
  for (let call = 0; call < 10; call++) {
    const sent = await logins.headers(here.target)
    await logins.headers(here.target, { sent, challenge: `Bearer error="insufficient_scope", scope="more-${call}"` })
  }
  expect(here.as.grants.length).toBeLessThanOrEqual(2)
})

test("an audience: a token of one service is good for no other at the same server", async () => {
  const here = await stage.servers()
  const other = stage.own(await protectedServer(() => [here.as.url], here.as.good))
  const logins = await stage.desk()
  await logIn(logins, here)
  const headers = await logins.headers(here.target)
  expect(await asked(here, headers)).toBe(200)
  expect(await asked({ ...here, mcp: other }, headers)).toBe(401)
})
