import type { AuthenticationRequest, ClarityError, Principal } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { anonymous } from "./anonymous.ts"
import { bearerToken } from "./bearer-token.ts"
import { loopback } from "./loopback.ts"

const secret = "correct-horse-battery-staple"

function request(
  headers: Record<string, string> | Headers = {},
  peer: string | undefined = "127.0.0.1",
): AuthenticationRequest {
  return { method: "POST", path: "/mcp", headers: new Headers(headers), peer }
}

function failure(work: () => unknown): ClarityError {
  try {
    work()
  } catch (error) {
    return error as ClarityError
  }
  throw new Error("did not fail")
}

describe("anonymous", () => {
  test("everybody, with the scopes given and no more", () => {
    expect(anonymous().authenticate(request({}, undefined))).toEqual({
      id: "anonymous",
      kind: "anonymous",
      scopes: ["read", "call"],
    })
    const reader = anonymous({ scopes: ["read"] }).authenticate(request()) as Principal
    expect(reader.scopes).toEqual(["read"])
    expect(() => (reader.scopes as string[]).push("admin")).toThrow(TypeError)
  })
})

describe("loopback", () => {
  test.each(["127.0.0.1", "127.1.2.3", "127.255.255.255", "::1", "::ffff:127.0.0.1", "::FFFF:127.0.0.1"])(
    "%s is served",
    (peer) => {
      expect(loopback().authenticate(request({}, peer))).toMatchObject({ id: "local", scopes: ["admin"] })
    },
  )

  test.each([
    "10.0.0.1",
    "0.0.0.0",
    "128.0.0.1",
    "127.0.0.1.evil.com",
    "127.0.0",
    "127.0.0.256",
    "1127.0.0.1",
    "127.0.0.1, 8.8.8.8",
    "::ffff:10.0.0.1",
    "::2",
    "fe80::1",
    "localhost",
    "",
    undefined,
  ])("%s is refused with what to do", (peer) => {
    const error = failure(() => loopback().authenticate({ ...request(), peer }))
    expect(error.code).toBe("forbidden")
    expect(error.message).toMatch(/configure an auth token \(CLARITYD_AUTH_TOKEN, or clarityctl token create\)/)
  })

  test("lets nobody in once it is over, and whom it let in before is told", () => {
    let over = new AbortController()
    const local = loopback({ until: () => over.signal })
    const ask = () => local.authenticate(request({}, "127.0.0.1")) as Principal | undefined
    const first = ask()
    expect([first?.id, first?.ends, ask()]).toEqual(["local", over.signal, first])
    over.abort()
    expect([first?.ends?.aborted, ask()]).toEqual([true, undefined])
    expect(local.authenticate(request({}, "8.8.8.8")), "the next decides").toBeUndefined()
    over = new AbortController()
    expect(ask()?.ends?.aborted).toBe(false)
  })

  test("what the caller says of itself does not count", () => {
    const claims = {
      "x-forwarded-for": "127.0.0.1",
      "x-real-ip": "127.0.0.1",
      forwarded: "for=127.0.0.1",
      host: "127.0.0.1",
    }
    expect(failure(() => loopback().authenticate(request(claims, "8.8.8.8"))).code).toBe("forbidden")
  })
})

describe("bearerToken", () => {
  const authenticator = bearerToken({ token: secret })
  const code = (headers: Record<string, string> | Headers) =>
    failure(() => authenticator.authenticate(request(headers))).code

  test("Bearer and x-clarity-token each suffice, wherever the caller is", () => {
    expect(authenticator.challenge).toBe("Bearer")
    for (const headers of [
      { authorization: `Bearer ${secret}` },
      { authorization: `bearer  ${secret}` },
      { "x-clarity-token": secret },
      { authorization: `Bearer ${secret}`, "x-clarity-token": "wrong" },
    ])
      expect(authenticator.authenticate(request(headers, "8.8.8.8"))).toEqual({
        id: "token:default",
        kind: "token",
        scopes: ["admin"],
      })
  })

  const outcome = (headers: Headers): string | undefined => {
    try {
      return (authenticator.authenticate(request(headers)) as Principal | undefined)?.id
    } catch (error) {
      return (error as ClarityError).code
    }
  }

  test("no credentials at all: not mine", () => {
    expect(authenticator.authenticate(request())).toBeUndefined()
  })

  test("a wrong Bearer is refused even beside a right x-clarity-token", () => {
    expect(code({ authorization: "Bearer wrong", "x-clarity-token": secret })).toBe("unauthorized")
    expect(code({ authorization: `Basic ${btoa(`a:${secret}`)}`, "x-clarity-token": secret })).toBe("unauthorized")
    expect(code({ authorization: "", "x-clarity-token": secret })).toBe("unauthorized")
  })

  test.each([
    ["random", { authorization: "Bearer 0123456789abcdef" }],
    ["empty Bearer", { authorization: "Bearer " }],
    ["no scheme", { authorization: secret }],
    ["Basic", { authorization: `Basic ${btoa(`:${secret}`)}` }],
    ["8 kB", { authorization: `Bearer ${"a".repeat(8192)}` }],
    ["1 MB", { "x-clarity-token": "a".repeat(1_048_576) }],
    ["right with more behind", { authorization: `Bearer ${secret} x` }],
    ["right but longer", { authorization: `Bearer ${secret}x` }],
    ["beginning of the right one", { authorization: `Bearer ${secret.slice(0, -1)}` }],
    ["other case", { authorization: `Bearer ${secret.toUpperCase()}` }],
    ["empty x-clarity-token", { "x-clarity-token": "" }],
  ])("%s is refused", (_name, headers) => {
    expect(code(headers as Record<string, string>)).toBe("unauthorized")
  })

  test("two Authorization headers are no credentials", () => {
    const headers = new Headers()
    headers.append("authorization", `Bearer ${secret}`)
    headers.append("authorization", "Bearer other")
    expect(code(headers)).toBe("unauthorized")
  })

  test("several tokens are several principals with their own scopes", () => {
    const several = bearerToken({
      tokens: [
        { id: "ci", token: "token-number-one", scopes: ["call"] },
        { id: "ops", token: "token-number-two", scopes: ["read", "operate"] },
      ],
    })
    expect(several.authenticate(request({ authorization: "Bearer token-number-one" }))).toMatchObject({
      id: "token:ci",
      scopes: ["call"],
    })
    expect(several.authenticate(request({ "x-clarity-token": "token-number-two" }))).toMatchObject({
      id: "token:ops",
      scopes: ["read", "operate"],
    })
  })

  test.each([
    "changeme",
    "CHANGE-ME",
    "change_me",
    "secret-api-key",
    "my-test-key",
    "__REPLACE_ME__",
    "your-token",
    "<token>",
    "${CLARITYD_AUTH_TOKEN}",
    "$TOKEN",
    "{{token}}",
    "xxxxxxxx",
    "--------",
    "password",
    "undefined",
  ])("the placeholder %s is refused at once", (token) => {
    expect(failure(() => bearerToken({ token })).message).toMatch(/a secret of your own, not a placeholder/)
  })

  test.each([
    ["empty", { token: "" }],
    ["with a space", { token: "a b-longer" }],
    ["with a line break", { token: "abc\r\nx: y" }],
    ["too long", { token: "a".repeat(1025) }],
    ["none", { tokens: [] }],
    ["a bad id", { tokens: [{ id: "a b", token: secret }] }],
    ["no scope", { tokens: [{ id: "a", token: secret, scopes: [] }] }],
    [
      "twice the id",
      {
        tokens: [
          { id: "a", token: secret },
          { id: "a", token: "other-token" },
        ],
      },
    ],
    [
      "twice the token",
      {
        tokens: [
          { id: "a", token: secret },
          { id: "b", token: secret },
        ],
      },
    ],
  ])("a configuration with %s is an error that shows no token", (_name, options) => {
    const error = failure(() => bearerToken(options))
    expect(error.code).toBe("config_error")
    expect(error.message).not.toContain(secret)
  })

  test("whatever is presented: the principal exactly for the token, else undefined or unauthorized", () => {
    const anyToken = fc.oneof(fc.constant(secret), fc.string({ unit: "grapheme-ascii", maxLength: 60 }))
    fc.assert(
      fc.property(
        fc.option(fc.tuple(fc.constantFrom("Bearer ", "Basic ", "", "Bearer"), anyToken)),
        fc.option(anyToken),
        (bearer, header) => {
          const headers = new Headers()
          if (bearer !== null) headers.set("authorization", bearer.join(""))
          if (header !== null) headers.set("x-clarity-token", header)
          const right = bearer === null ? header?.trim() === secret : bearer.join("").trim() === `Bearer ${secret}`
          const refused = bearer === null && header === null ? undefined : "unauthorized"
          expect(outcome(headers)).toBe(right ? "token:default" : refused)
        },
      ),
    )
  })
})
