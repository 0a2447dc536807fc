import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { createControlClient } from "@clarity-runtime/control/client"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { ctl } from "./support/ctl.ts"
import { launchDaemon, manifest, remote, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import { callTool, eras, namesOf, post, send, textOf, type Message } from "./support/mcp.ts"
import { serveActor, stage, stdioActor, type Upstream } from "./support/stage.ts"

const workspace = temporaryDirectory()
let daemon: Daemon
let upstream: Upstream
const ids: Record<string, string> = {}
/** Values by name, as `clarityctl token create` printed them. */
const values: Record<string, string> = {}
const by = (name: string) => ({ authorization: `Bearer ${values[name] ?? ""}` })
const clientOf = (name: string) => createControlClient({ url: daemon.url, token: values[name] ?? "" })

async function create(name: string, ...flags: string[]): Promise<void> {
  const made = await ctl(daemon, ["token", "create", name, ...flags], values["me"])
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^clarity_[\w-]{43}\n$/) })
  values[name] = made.stdout.trim()
}
const revoke = (name: string) => ctl(daemon, ["token", "revoke", name], values["me"])

beforeAll(async () => {
  daemon = await startDaemon({ workspace })
  upstream = await serveActor(stage(workspace, "notes"))
  ids["notes"] = (await daemon.register(manifest("notes", remote(upstream.url)))).serviceId
  ids["vault"] = (await daemon.register(manifest("vault", stdioActor(stage(workspace, "vault"))))).serviceId
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  await upstream[Symbol.asyncDispose]()
})

describe("the first token", () => {
  it("must be an administrator's, for from then on nobody is served without", async () => {
    const refused = await ctl(daemon, ["token", "create", "ci", "--scope", "call"])
    expect(refused).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("token create me --scope admin"),
    })
    expect((await fetch(`${daemon.url}/api/status`)).status).toBe(200)

    const before = await fetch(`${daemon.url}/api/events`)
    const made = await ctl(daemon, ["token", "create", "me", "--scope", "admin"])
    // What was open without one ends.
    await before.text()
    expect(made.stderr).toMatch(/^token:me: admin on everything, without end\. Its value is not shown again/)
    values["me"] = made.stdout.trim()
    for (const path of ["/api/status", "/status", "/api/openapi.json"])
      expect([path, (await fetch(daemon.url + path)).status]).toEqual([path, 401])
    const response = await send(daemon.url, "modern", "tools/list")
    expect([response.status, response.headers.get("www-authenticate")]).toEqual([401, "Bearer"])
    expect(await ctl(daemon, ["list"])).toMatchObject({
      code: 77,
      stderr: expect.stringContaining("CLARITYD_AUTH_TOKEN"),
    })
    for (const headers of [by("me"), { "x-clarity-token": values["me"] }] as Record<string, string>[])
      expect((await fetch(`${daemon.url}/api/status`, { headers })).status).toBe(200)
  })

  it("AUTH-02: nothing else is one", async () => {
    const value = values["me"] ?? ""
    const wrong: Record<string, string>[] = [
      { authorization: `Bearer clarity_${"A".repeat(43)}` },
      { authorization: "Bearer " },
      { authorization: `Bearer ${"a".repeat(8192)}` },
      { authorization: `Basic ${Buffer.from(`me:${value}`).toString("base64")}` },
      { authorization: `Bearer ${value.toLowerCase()}` },
      { authorization: `Bearer ${value}`.slice(0, -1) },
      { authorization: "Bearer x", "x-clarity-token": value },
      { cookie: `token=${value}` },
      // AUTH-09: who somebody says they are is nobody's business.
      { "x-user": "me", "x-forwarded-user": "me", "x-forwarded-for": "127.0.0.1", "x-original-url": "/healthz" },
    ]
    for (const headers of wrong)
      for (const path of ["/api/status", "/mcp", `/api/status?token=${value}&user=me`, "/mcp?access_token=" + value]) {
        const method = path.startsWith("/mcp") ? "POST" : "GET"
        const response = await fetch(daemon.url + path, {
          method,
          headers: { ...headers, "content-type": "application/json" },
        })
        expect({ headers, path, status: response.status }).toEqual({ headers, path, status: 401 })
      }
    expect(await statusOf(`${daemon.url}/mcp`, { authorization: `Bearer ${"a".repeat(1_000_000)}` })).toBe(431)
  })
})

describe("a token for calling one service", () => {
  beforeAll(() => create("ci", "--scope", "call", "--reach", "notes/*", "--expires", "30d"))

  it.each(eras)("calls that one, and cannot tell the other from one that is not there (%s)", async (era) => {
    const options = { era, headers: by("ci") }
    expect(textOf(await callTool(daemon.url, "notes__echo", { text: "hi" }, options))).toBe("hi")
    expect((await namesOf(daemon.url, "tools", options)).every((name) => name.startsWith("notes__"))).toBe(true)
    for (const [name, path] of [
      ["vault__echo", ""],
      ["runtime__status_summary", ""],
      ["NOTES__echo", ""],
    ] as const) {
      const [hidden, unknown] = await Promise.all(
        [name, "nobody__echo"].map(async (tool) => {
          const response = await send(
            daemon.url,
            era,
            "tools/call",
            { name: tool, arguments: {} },
            { ...options, path },
          )
          return `${response.status} ${(await response.text()).replaceAll(tool, "*")}`
        }),
      )
      expect(hidden).toBe(unknown)
    }
    const [away, nowhere] = await Promise.all(
      ["vault", "nobody"].map(async (namespace) => {
        const response = await send(daemon.url, era, "tools/list", {}, { ...options, path: `/${namespace}` })
        return `${response.status} ${(await response.text()).replaceAll(namespace, "*")}`
      }),
    )
    expect(away).toBe(nowhere)
  })

  it("is told which scope it lacks, in the words of OAuth", async () => {
    const response = await fetch(`${daemon.url}/api/services`, { headers: by("ci") })
    expect([response.status, response.headers.get("www-authenticate")]).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="read"',
    ])
    const made = await clientOf("ci")
      .createToken({ name: "more", scopes: ["admin"] })
      .catch((error: unknown) => error)
    expect(made).toMatchObject({ code: "forbidden" })
  })

  it("AUTH-10: what it sends beside stays here; its name is the token's whatever it claims", async () => {
    const headers = {
      ...by("ci"),
      "x-upstream-authorization": "Bearer CANARY",
      "x-forwarded-for": "6.6.6.6",
      "x-forwarded-user": "CANARY",
      "x-original-url": "/CANARY",
      "mcp-init-host": "CANARY",
    }
    await callTool(daemon.url, "notes__echo", { text: "x" }, { headers, path: "?user=admin" })
    expect(upstream.seen.length).toBeGreaterThan(0)
    expect(JSON.stringify(upstream.seen)).not.toMatch(/CANARY|6\.6\.6\.6|clarity_/)
    const { items } = await clientOf("me").getAudit({ kind: "mcp.tool_called", limit: 1 })
    expect(items[0]?.data).toMatchObject({ principal: "token:ci" })
  })
})

describe("a token for reading one service", () => {
  beforeAll(async () => {
    const made = await clientOf("me").createToken({ name: "viewer", scopes: ["read"], reach: ["notes"] })
    values["viewer"] = made.value
  })

  it("sees that one, and nothing of another", async () => {
    const viewer = clientOf("viewer")
    expect((await viewer.listServices({})).items.map(({ namespace }) => namespace)).toEqual(["notes"])
    const unknown = await viewer.getService({ id: "svc_none" }).catch((error: Error) => error.message)
    for (const name of ["getService", "getInterface", "getLogs", "getServiceEvents", "getDetails"] as const) {
      const id = ids["vault"] ?? ""
      const said = await viewer[name]({ id }).catch((error: Error) => error.message)
      expect([name, said]).toEqual([name, String(unknown).replace("svc_none", id)])
    }
    const seen = JSON.stringify([await viewer.status({}), await viewer.getAudit({}), await viewer.listApprovals({})])
    expect(seen).toContain(ids["notes"])
    expect(seen).not.toContain(ids["vault"])
    expect(seen).not.toContain("vault")
    const page = await fetch(`${daemon.url}/status`, { headers: by("viewer") })
    expect(page.status).toBe(200)
    const html = await page.text()
    expect(html).toContain(ids["notes"])
    expect(html).not.toContain("vault")
    expect((await fetch(`${daemon.url}/status`, { headers: by("ci") })).status, "without the scope read").toBe(403)
  })

  it("may list on the endpoint and not call", async () => {
    expect(await namesOf(daemon.url, "tools", { headers: by("viewer") })).toContain("notes__echo")
    const response = await send(daemon.url, "modern", "tools/call", { name: "notes__echo" }, { headers: by("viewer") })
    expect([response.status, response.headers.get("www-authenticate")]).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="call"',
    ])
  })
})

describe("a token that is revoked", () => {
  it("SES-04: closes what is open with it, its sessions as well, and nothing else", async () => {
    values["brief"] = (await clientOf("me").createToken({ name: "brief", scopes: ["call", "read"] })).value
    const initialize = {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "t", version: "1" },
    }
    const opened = await send(daemon.url, "legacy", "initialize", initialize, { headers: by("brief") })
    await opened.text()
    const session = {
      "mcp-session-id": opened.headers.get("mcp-session-id") ?? "",
      "mcp-protocol-version": "2025-11-25",
    }
    const accept = { accept: "text/event-stream" }
    const withSession = (headers: Record<string, string>) =>
      post(`${daemon.url}/mcp`, '{"jsonrpc":"2.0","id":1,"method":"ping"}', { headers: { ...session, ...headers } })
    expect((await withSession(by("brief"))).status).toBe(200)
    expect((await withSession({})).status, "a session is no credential").toBe(401)
    expect((await withSession(by("ci"))).status, "nor one for somebody else").toBe(404)

    const streams = await Promise.all([
      fetch(`${daemon.url}/mcp`, { headers: { ...by("brief"), ...session, ...accept } }),
      fetch(`${daemon.url}/api/events`, { headers: by("brief") }),
      fetch(`${daemon.url}/api/services/${ids["vault"]}/logs?follow=1`, { headers: by("brief") }),
      send(
        daemon.url,
        "modern",
        "subscriptions/listen",
        { notifications: { toolsListChanged: true } },
        { headers: { ...by("brief"), ...accept } },
      ),
    ])
    expect(streams.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    const other = await fetch(`${daemon.url}/api/events`, { headers: by("me") })
    const ended = Promise.all(streams.map((stream) => stream.text()))
    expect(await revoke("brief")).toMatchObject({ code: 0, stdout: expect.stringContaining("brief is revoked") })
    await ended
    expect((await withSession(by("brief"))).status).toBe(401)
    expect((await fetch(`${daemon.url}/api/status`, { headers: by("brief") })).status).toBe(401)
    const reader = other.body?.getReader()
    expect((await reader?.read())?.done).toBe(false)
    await reader?.cancel()
  })

  it("ends streams when its time is over, too", async () => {
    const expiresAt = new Date(Date.now() + 1500).toISOString()
    const { value } = await clientOf("me").createToken({ name: "second", scopes: ["read"], expiresAt })
    const headers = { authorization: `Bearer ${value}` }
    const stream = await fetch(`${daemon.url}/api/events`, { headers })
    expect(stream.status).toBe(200)
    await stream.text()
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt))
    expect((await fetch(`${daemon.url}/api/status`, { headers })).status).toBe(401)
  })
})

describe("tokens", () => {
  it("are listed without their values, which are nowhere", async () => {
    const listed = await ctl(daemon, ["token", "list"], values["me"])
    expect(listed.stdout).toMatch(/^NAME +SCOPES +REACH +CREATED +EXPIRES +LAST USED\n/)
    expect(listed.stdout).toMatch(/^ci +call +notes\/\* +\S+Z +\S+Z +\S+Z$/m)
    expect(listed.stdout).toMatch(/^me +admin +everything +\S+Z +never +\S+Z$/m)
    expect(listed.stdout).toMatch(/^second +read +everything +\S+Z +\S+Z \(over\)/m)
    const audit = await clientOf("me").getAudit({ limit: 2000 })
    expect(audit.items.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(["auth.token_created", "auth.token_revoked"]),
    )
    const state = join(workspace, ".clarity")
    const files = readdirSync(state, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    const said = [
      listed.stdout,
      JSON.stringify(audit),
      daemon.program.stdout(),
      daemon.program.stderr(),
      ...files,
    ].join("\n")
    for (const value of Object.values(values)) expect(said.includes(value.slice(8))).toBe(false)
    expect(statSync(join(state, "runtime", "tokens.json")).mode & 0o777).toBe(0o600)
  })

  it("cannot be revoked so that nobody is left who may do everything, and are there after a restart", async () => {
    const refused = await revoke("me")
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("last token of an administrator") })
    await daemon.stop("SIGKILL")
    daemon = await startDaemon({ workspace })
    expect(daemon.program.stdout()).toMatch(/callers +token required/)
    expect((await fetch(`${daemon.url}/api/status`)).status).toBe(401)
    expect(textOf(await callTool(daemon.url, "notes__echo", { text: "again" }, { headers: by("ci") }))).toBe("again")
    for (const name of ["ci", "viewer", "second", "me"]) await clientOf("me").revokeToken({ name })
    expect((await fetch(`${daemon.url}/api/status`)).status).toBe(200)
  })
})

it("AUTH-05: a daemon that cannot read its tokens does not start, rather than serve anybody", async () => {
  const broken = temporaryDirectory()
  const state = join(broken, ".clarity", "runtime")
  mkdirSync(state, { recursive: true, mode: 0o700 })
  writeFileSync(join(state, "tokens.json"), '{"version":1,"tokens":[{"name":"me"', { mode: 0o600 })
  const program = launchDaemon({ workspace: broken })
  expect(await program.exited).toBe(74)
  expect(program.stderr()).toContain("tokens.json")
})

it("AUTH-06: a daemon does not start with a token from an example", async () => {
  const program = launchDaemon({ workspace: temporaryDirectory(), env: { CLARITYD_AUTH_TOKEN: "__REPLACE_ME__" } })
  expect(await program.exited).toBe(78)
  expect(program.stderr()).toContain("placeholder")
  expect(program.stderr()).not.toContain("REPLACE")
})

/** For headers that `fetch` would not send; resolves with the status. */
function statusOf(url: string, headers: Message): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "POST", headers }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    sent.once("error", reject)
    sent.end()
  })
}
