import { connect } from "node:net"
import { ClarityError } from "@clarity-runtime/contracts"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { everyone, messages, modern, modernMeta, served, type Served } from "../../test-support/served.ts"
import { createGate } from "./gate.ts"

let at: Served
beforeAll(async () => {
  at = await served(
    [{ namespace: "echo", tools: { say: (args) => ({ content: [{ type: "text", text: JSON.stringify(args) }] }) } }],
    {
      maxBodyBytes: 65_536,
      allowedOrigins: ["https://app.example"],
      authenticators: [
        {
          authenticate({ headers }) {
            if (headers.get("x-test-user") === "refused") throw new ClarityError("unauthorized", "unauthorized")
            return headers.get("x-test-user") === "nobody" ? undefined : everyone
          },
        },
      ],
    },
  )
})
afterAll(() => at[Symbol.asyncDispose]())

const ping = { jsonrpc: "2.0", id: 1, method: "ping" }
const status = async (body: unknown, headers?: Record<string, string>) => (await at.post(body, headers)).status

async function refusedAs(
  body: unknown,
  http: number,
  code: number,
  headers?: Record<string, string>,
): Promise<Record<string, any>> {
  const response = await at.post(body, headers)
  const [answer] = await messages(response)
  expect({ http: response.status, code: answer?.["error"]?.code }).toEqual({ http, code })
  expect(JSON.stringify(answer)).not.toMatch(/\.ts:|at \w+ \(|node_modules/)
  return answer as Record<string, any>
}

/** What `fetch` would not send. */
function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(at.url)
  return new Promise((resolve, reject) => {
    let answer = ""
    const socket = connect(Number(port), hostname, () => socket.end(text))
    socket.on("data", (chunk) => (answer += String(chunk)))
    socket.on("close", () => resolve(answer))
    socket.on("error", reject)
  })
}

describe("the gate", () => {
  it.each([
    "https://evil.example",
    "http://localhost.evil.com",
    "http://127.0.0.1.evil.com",
    "http://localhost@evil.com",
    "null",
    "http://127.0.0.1:1",
    "file://",
  ])("refuses Origin %s", async (origin) => expect(await status(ping, { origin })).toBe(403))
  it("lets its own origin, named origins and clients without one in", async () => {
    expect(await status(ping, { origin: new URL(at.url).origin })).toBe(200)
    expect(await status(ping, { origin: "https://app.example" })).toBe(200)
    expect(await status(ping)).toBe(200)
  })
  it("knows an IPv6 address that may be called by the brackets it has in a header", () => {
    const gate = createGate({ allowedHosts: ["fd00::5"] })
    const ask = (host: string) => gate({ get: (name) => (name === "host" ? host : null) }, undefined)
    expect(() => ask("[fd00::5]:4707")).not.toThrow()
    expect(() => ask("[fd00::6]:4707")).toThrow(/not served/)
  })
  it("lets the pages of named origins, and only those, ask first and read the answer", async () => {
    const preflight = (origin: string) =>
      fetch(at.url, { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } })
    const named = await preflight("https://app.example")
    expect([named.status, named.headers.get("access-control-allow-origin")]).toEqual([204, "https://app.example"])
    const foreign = await preflight("https://evil.example")
    expect([foreign.status, foreign.headers.get("access-control-allow-origin")]).toEqual([403, null])
    const answer = await at.post(ping, { origin: "https://app.example" })
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example")
    expect((await at.post(ping)).headers.get("access-control-allow-origin")).toBeNull()
  })
  it("refuses foreign, missing and doubled Host headers", async () => {
    const post = (hosts: string) =>
      raw(
        `POST /mcp HTTP/1.1\r\n${hosts}Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      )
    expect(await post("Host: evil.example\r\n")).toMatch(/^HTTP\/1\.1 403 /)
    expect(await post("Host: 127.0.0.1:80@evil.example\r\n")).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(await post("Host: localhost\r\nHost: localhost\r\n")).toMatch(/^HTTP\/1\.1 400 /)
    expect(await post("")).toMatch(/^HTTP\/1\.1 400 /)
  })
  it("refuses cross-site requests of browsers that send no Origin", async () => {
    const answer = await raw(
      "GET /mcp HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n",
    )
    expect(answer).toMatch(/^HTTP\/1\.1 403 /)
  })
  it("survives a request line that is no URL", async () => {
    expect(await raw("GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(await status(ping)).toBe(200)
  })
  it.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"])(
    "refuses the content type %s",
    async (type) => expect(await status(JSON.stringify(ping), { "content-type": type })).toBe(415),
  )
  it("refuses compressed bodies", async () => expect(await status(ping, { "content-encoding": "gzip" })).toBe(415))
  it("answers 401 with a challenge when nobody knows the caller, and when one refuses", async () => {
    for (const user of ["nobody", "refused"]) {
      const response = await at.post(ping, { "x-test-user": user })
      expect(response.status).toBe(401)
      expect(response.headers.get("www-authenticate")).toBe("Bearer")
    }
    expect(at.events.some(({ kind }) => kind === "edge.refused")).toBe(true)
  })
})

describe("the body", () => {
  it.each(["", "{", "{} x", "\uFEFF{}", "{'a':1}", '{"a":NaN}', '{"jsonrpc":"2.0",}'])(
    "refuses %j as no JSON",
    async (text) => {
      await refusedAs(text, 400, -32700)
    },
  )
  it("refuses bytes that are not UTF-8", async () => {
    const body = Buffer.concat([
      Buffer.from('{"jsonrpc":"2.0","id":1,"method":"'),
      Buffer.from([0xff]),
      Buffer.from('"}'),
    ])
    const response = await fetch(at.url, { method: "POST", headers: { "content-type": "application/json" }, body })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: -32700 } })
  })
  it.each(["{'a':1,'b':2}", "{a:1,b:2}", "{:1,:2}", '{"a":1::2}'])(
    "%s is no JSON, and nothing else is said of it",
    async (text) => {
      await refusedAs(text, 400, -32700)
    },
  )
  it.each([
    ["the same key twice", '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}'],
    [
      "the same key twice, once escaped",
      '{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":"a","n\\u0061me":"b"}}',
    ],
    ["65 levels", "[".repeat(65) + "]".repeat(65)],
    ["far too many levels", "[".repeat(30_000)],
  ])("refuses %s", async (_what, text) => {
    await refusedAs(text, 400, -32600)
  })
  it("refuses more items than its bound", async () => {
    const wide = await served([], { maxBodyBytes: 1 << 20 })
    const response = await wide.post(
      `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":[${"1,".repeat(100_001)}1]}}`,
    )
    expect(response.status).toBe(400)
    await wide[Symbol.asyncDispose]()
  })
  it("takes a body at its limit and refuses one byte more, declared or streamed", async () => {
    const fitting = JSON.stringify({ ...ping, pad: "" })
    const exact = JSON.stringify({ ...ping, pad: "x".repeat(65_536 - fitting.length) })
    expect(await status(exact)).toBe(200)
    expect(await status(`${exact} `)).toBe(413)
    const stream = new ReadableStream({
      pull: (controller) => controller.enqueue(new TextEncoder().encode("x".repeat(40_000))),
    })
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: stream,
      duplex: "half",
    } as RequestInit
    expect((await fetch(at.url, init)).status).toBe(413)
  })
})

describe("the envelope", () => {
  it.each([
    [[ping]],
    [5],
    [null],
    [{ ...ping, jsonrpc: "1.0" }],
    [{ ...ping, id: null }],
    [{ ...ping, id: 1.5 }],
    [{ ...ping, id: true }],
    [{ ...ping, id: {} }],
    [{ ...ping, id: "x".repeat(257) }],
    [{ ...ping, method: "" }],
    [{ ...ping, method: 5 }],
    [{ ...ping, method: "m".repeat(257) }],
    [{ ...ping, params: [] }],
    [{ ...ping, params: "x" }],
  ])("refuses %j", async (message) => {
    await refusedAs(message, 400, -32600)
  })
  it("refuses an id that a double would change", async () => {
    await refusedAs('{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', 400, -32600)
  })
  it("names the request an error belongs to when it can be read", async () => {
    expect(await refusedAs({ ...ping, id: 77, params: [] }, 400, -32600)).toMatchObject({ id: 77 })
  })
  it("answers unknown methods by the era's own rule", async () => {
    await refusedAs({ ...ping, method: "no/such" }, 200, -32601)
    expect((await modern(at, "no/such")).status).toBe(404)
  })
  it("takes notifications without an answer", async () => {
    const response = await at.post({ jsonrpc: "2.0", method: "notifications/initialized" })
    expect([response.status, await response.text()]).toEqual([202, ""])
  })
  it("refuses a response nobody asked for", async () => {
    await refusedAs({ jsonrpc: "2.0", id: 1, result: {} }, 400, -32600)
  })
  it("knows no session but its own", async () => {
    expect(await status(ping, { "mcp-session-id": "made-up" })).toBe(404)
  })
  it.each(["GET", "DELETE"])("answers %s without a session with 405", async (method) => {
    const response = await fetch(at.url, { method })
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"])
  })
  it("accepts batches from clients of 2025-03-26 only", async () => {
    const batch = [ping, { ...ping, id: 2 }, { jsonrpc: "2.0", method: "notifications/initialized" }, 5]
    const response = await at.post(batch, { "mcp-protocol-version": "2025-03-26" })
    expect(await response.json()).toMatchObject([
      { id: 1, result: {} },
      { id: 2, result: {} },
      { error: { code: -32600 } },
    ])
    await refusedAs(batch, 400, -32600, { "mcp-protocol-version": "2025-06-18" })
  })
})

describe("headers of the modern era", () => {
  const call = (headers: Record<string, string>) => modern(at, "tools/call", { name: "echo__say" }, { headers })
  it.each([
    ["Mcp-Method", { "mcp-method": "tools/list" }],
    ["Mcp-Name", { "mcp-name": "other" }],
    ["Mcp-Name in bad Base64", { "mcp-name": "=?base64?***?=" }],
    ["the version", { "mcp-protocol-version": "2025-11-25" }],
  ])("must not contradict the body: %s", async (_what, headers) => {
    const response = await call(headers as Record<string, string>)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: -32020 } })
  })
  it("may be encoded", async () => {
    const response = await call({ "mcp-name": `=?base64?${Buffer.from("echo__say").toString("base64")}?=` })
    expect(response.status).toBe(200)
  })
  it("names the versions it serves", async () => {
    const body = {
      ...ping,
      params: { _meta: { ...modernMeta, "io.modelcontextprotocol/protocolVersion": "2099-01-01" } },
    }
    const response = await at.post(body, { "mcp-protocol-version": "2099-01-01", "mcp-method": "ping" })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { code: -32022, data: { supported: ["2026-07-28"], requested: "2099-01-01" } },
    })
  })
  it("wants the envelope whole", async () => {
    const response = await at.post(
      { ...ping, method: "tools/list" },
      { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list" },
    )
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: -32602 } })
  })
})

describe("names", () => {
  it("reads unknown and dangerous names as data", async () => {
    for (const name of ["nope", "__proto__", "constructor", "echo__nope", "echo__", "__say"]) {
      const [answer] = await messages(await modern(at, "tools/call", { name }))
      expect(answer?.["error"]).toMatchObject({ code: -32602, message: `unknown tool: ${name}` })
    }
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined()
  })
})
