import { createServer, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import type { Principal } from "@clarity-runtime/contracts"
import { createOutbound } from "@clarity-runtime/outbound"
import { manualClock } from "@clarity-runtime/testkit"
import {
  exportJWK,
  exportSPKI,
  generateKeyPair,
  SignJWT,
  UnsecuredJWT,
  type CryptoKey,
  type JWTHeaderParameters,
  type JWTPayload,
} from "jose"
import { afterEach, describe, expect, it } from "vitest"
import { jwtBearer, metadataUrlOf, resourceMetadata, type JwtBearerOptions } from "./jwt-bearer.ts"

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing[Symbol.asyncDispose]()
})

const resource = "https://runtime.example/mcp"
const keys = await generateKeyPair("ES256", { extractable: true })
const other = await generateKeyPair("ES256", { extractable: true })

interface Issuer {
  readonly url: string
  /** Requests so far, by path. */
  readonly seen: string[]
  answer: RequestListener
}

/** A real server with the metadata and the keys of an issuer. */
async function issuer(given: readonly { kid: string; key: CryptoKey }[] = [{ kid: "one", key: keys.publicKey }]) {
  const jwks = { keys: await Promise.all(given.map(async ({ kid, key }) => ({ ...(await exportJWK(key)), kid }))) }
  const server = createServer((request, response) => {
    made.seen.push(request.url ?? "")
    made.answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const made: Issuer & { keys: typeof jwks } = {
    url,
    seen: [],
    keys: jwks,
    answer(request, response) {
      response.setHeader("content-type", "application/json")
      if (request.url === "/.well-known/oauth-authorization-server")
        response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }))
      else if (request.url === "/keys") response.end(JSON.stringify(made.keys))
      else response.writeHead(404).end()
    },
  }
  open.push({
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  })
  return made
}

function resourceServer(at: Issuer, more: Partial<JwtBearerOptions> = {}) {
  const outbound = createOutbound()
  open.push(outbound)
  const authenticator = jwtBearer({ issuer: at.url, audience: resource, resource, outbound, ...more })
  return (token: string): Promise<Principal | undefined> =>
    Promise.resolve(
      authenticator.authenticate({
        method: "POST",
        path: "/mcp",
        headers: new Headers({ authorization: `Bearer ${token}` }),
        peer: undefined,
      }),
    )
}

const seconds = () => Math.floor(Date.now() / 1000)
const claims = (at: Issuer, more: Record<string, unknown> = {}): JWTPayload => ({
  iss: at.url,
  aud: resource,
  sub: "alice",
  scope: "mcp",
  exp: seconds() + 300,
  ...more,
})
const sign = (payload: JWTPayload, header: Partial<JWTHeaderParameters> = {}, key: CryptoKey = keys.privateKey) =>
  new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid: "one", ...header }).sign(key)

describe("access tokens of an authorization server", () => {
  it("are taken when they are for this resource, and say who and what", async () => {
    const at = await issuer()
    const ask = resourceServer(at)
    expect(await ask(await sign(claims(at)))).toMatchObject({ id: "user:alice", kind: "user", scopes: ["call"] })
    const client = claims(at, { sub: "robot", client_id: "robot", scope: "clarity:read clarity:operate other" })
    expect(await ask(await sign(client))).toMatchObject({ id: "client:robot", scopes: ["read", "operate"] })
    expect(await ask(await sign(claims(at, { scope: "" })))).toMatchObject({ scopes: [] })
    expect(at.seen, "keys are fetched once").toEqual(["/.well-known/oauth-authorization-server", "/keys"])
  })

  it("may have scopes of other names", async () => {
    const at = await issuer()
    const ask = resourceServer(at, { scopes: { "tools.use": ["read", "call"] } })
    expect(await ask(await sign(claims(at, { scp: ["tools.use"], scope: undefined })))).toMatchObject({
      scopes: ["read", "call"],
    })
    expect(await ask(await sign(claims(at, { scope: "clarity:admin constructor" })))).toMatchObject({ scopes: [] })
  })

  const bad: readonly [string, (at: Issuer) => Promise<string> | string][] = [
    ["no signature", (at) => new UnsecuredJWT(claims(at)).encode()],
    [
      "the public key as a shared secret",
      async (at) => {
        const secret = new TextEncoder().encode(await exportSPKI(keys.publicKey))
        return new SignJWT(claims(at)).setProtectedHeader({ alg: "HS256", kid: "one" }).sign(secret)
      },
    ],
    ["another key under that id", (at) => sign(claims(at), {}, other.privateKey)],
    ["another issuer", (at) => sign(claims(at, { iss: "https://evil.example" }))],
    ["an issuer that only begins so", (at) => sign(claims(at, { iss: `${at.url}.evil` }))],
    ["another audience", (at) => sign(claims(at, { aud: "https://other.example/mcp" }))],
    ["no audience", (at) => sign(claims(at, { aud: undefined }))],
    ["a time that is over", (at) => sign(claims(at, { exp: seconds() - 62 }))],
    ["no end", (at) => sign(claims(at, { exp: undefined }))],
    ["a time that has not begun", (at) => sign(claims(at, { nbf: seconds() + 90 }))],
    ["a key id that is a path", (at) => sign(claims(at), { kid: "../../etc/passwd" })],
    ["a key id for a database", (at) => sign(claims(at), { kid: "1' OR '1'='1" })],
    ["a key id that is a URL", (at) => sign(claims(at), { kid: "http://169.254.169.254/keys" })],
    [
      "a key of its own",
      async (at) => sign(claims(at), { jwk: await exportJWK(other.publicKey), kid: "other" }, other.privateKey),
    ],
    ["a place for keys of its own", (at) => sign(claims(at), { jku: `${at.url}/evil`, kid: "x" }, other.privateKey)],
    ["nobody's name", (at) => sign(claims(at, { sub: undefined }))],
    ["a name with a line break", (at) => sign(claims(at, { sub: "a\nadmin" }))],
    ["a very long name", (at) => sign(claims(at, { sub: "a".repeat(300) }))],
    [
      "an extension it must know",
      (at) =>
        new SignJWT(claims(at))
          .setProtectedHeader({ alg: "ES256", kid: "one", crit: ["x"], x: 1 })
          .sign(keys.privateKey, { crit: { x: true } }),
    ],
    [
      "a changed body",
      async (at) => {
        const [head, , signature] = (await sign(claims(at))).split(".")
        return `${head}.${Buffer.from(JSON.stringify(claims(at, { sub: "root" }))).toString("base64url")}.${signature}`
      },
    ],
    ["rubbish in three parts", () => "a.b.c"],
  ]
  it.each(bad)("are refused with %s", async (_name, make) => {
    const at = await issuer()
    const ask = resourceServer(at)
    await expect(ask(await make(at))).rejects.toMatchObject({ code: "unauthorized" })
    expect(at.seen.filter((path) => !path.startsWith("/.well-known") && path !== "/keys")).toEqual([])
  })

  it("are good a minute longer, for clocks differ, and not a second more", async () => {
    const at = await issuer()
    const clock = { ...manualClock(), now: () => Date.now() }
    const ask = resourceServer(at, { clock })
    expect(await ask(await sign(claims(at, { exp: seconds() - 50 })))).toBeDefined()
    await expect(ask(await sign(claims(at, { exp: seconds() - 62 })))).rejects.toMatchObject({ code: "unauthorized" })
  })

  it("of another form are left to the next", async () => {
    const ask = resourceServer(await issuer())
    for (const token of ["clarity_abc", "opaque", "a.b", "a.b.c.d"]) expect(await ask(token)).toBeUndefined()
  })

  it("that were good are asked for no more than a minute after their end", async () => {
    const at = await issuer()
    let now = Date.now()
    const ask = resourceServer(at, { clock: { ...manualClock(), now: () => now } })
    const token = await sign(claims(at, { exp: seconds() + 1 }))
    expect(await ask(token)).toMatchObject({ id: "user:alice" })
    now += 62_000
    await expect(ask(token)).rejects.toMatchObject({ code: "unauthorized" })
  })
})

describe("an issuer's keys", () => {
  it("that cannot be had let nobody in, and say that it is not the caller's fault", async () => {
    for (const answer of [
      (_request: unknown, response: { destroy(): void }) => response.destroy(),
      (_request: unknown, response: { writeHead(code: number): { end(): void } }) => response.writeHead(500).end(),
      (_request: unknown, response: { end(text: string): void }) => response.end("<html>"),
      (_request: unknown, response: { end(text: string): void }) =>
        response.end(JSON.stringify({ issuer: "https://evil.example", jwks_uri: "https://evil.example/keys" })),
    ]) {
      const at = await issuer()
      at.answer = answer as never
      const ask = resourceServer(at)
      await expect(ask(await sign(claims(at)))).rejects.toMatchObject({ code: "unavailable" })
    }
  })

  it("that cannot be had are asked for once a second, however many callers there are", async () => {
    const at = await issuer()
    const { answer } = at
    at.answer = (_request, response) => void response.writeHead(503).end()
    const clock = manualClock()
    const ask = resourceServer(at, { clock: { ...clock, now: () => Date.now(), monotonic: () => clock.monotonic() } })
    for (let i = 0; i < 20; i++)
      await expect(ask(await sign(claims(at)))).rejects.toMatchObject({ code: "unavailable", data: { reason: "keys" } })
    expect(at.seen.length, "two places for metadata").toBe(2)
    at.answer = answer
    await clock.advance(1001)
    expect(await ask(await sign(claims(at)))).toMatchObject({ id: "user:alice" })
  })

  it("are fetched anew for a key that is not among them, but not for every made-up one", async () => {
    const at = await issuer()
    const clock = manualClock()
    const ask = resourceServer(at, { clock: { ...clock, now: () => Date.now(), monotonic: () => clock.monotonic() } })
    expect(await ask(await sign(claims(at)))).toBeDefined()
    const fresh = { ...(await exportJWK(other.publicKey)), kid: "two" }
    at.keys = { keys: [...at.keys.keys, fresh] }
    const rotated = await sign(claims(at), { kid: "two" }, other.privateKey)
    await expect(ask(rotated), "asked a moment ago").rejects.toMatchObject({ code: "unauthorized" })
    for (let i = 0; i < 20; i++) await ask(await sign(claims(at), { kid: `made-up-${i}` })).catch(() => undefined)
    expect(at.seen.filter((path) => path === "/keys")).toHaveLength(1)
    await clock.advance(30_001)
    expect(await ask(rotated)).toMatchObject({ id: "user:alice" })
  })

  it("are fetched by one request however many wait", async () => {
    const at = await issuer()
    const ask = resourceServer(at)
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => sign(claims(at, { sub: `user-${i}` }))))
    const who = await Promise.all(tokens.map(ask))
    expect(new Set(who.map((principal) => principal?.id)).size).toBe(20)
    expect(at.seen).toHaveLength(2)
  })
})

describe("what clients are told", () => {
  it("is where to get a token, in the words of the specification", () => {
    expect(metadataUrlOf(resource)).toBe("https://runtime.example/.well-known/oauth-protected-resource/mcp")
    expect(metadataUrlOf("https://runtime.example/")).toBe(
      "https://runtime.example/.well-known/oauth-protected-resource",
    )
    const options = { issuer: "https://login.example", audience: resource, resource, outbound: createOutbound() }
    expect(resourceMetadata(options)).toMatchObject({
      resource,
      authorization_servers: ["https://login.example"],
      bearer_methods_supported: ["header"],
    })
    expect(jwtBearer(options).challenge).toBe(
      'Bearer resource_metadata="https://runtime.example/.well-known/oauth-protected-resource/mcp"',
    )
    expect(jwtBearer(options).scopeName?.("operate")).toBe("clarity:operate")
  })
})
