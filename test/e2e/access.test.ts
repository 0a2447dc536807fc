import { mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { networkInterfaces } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, remote, startDaemon, temporaryDirectory, wasm, type Daemon } from "./support/daemon.ts"
import { ask, callTool, namesOf, post, textOf, type Message } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"
import { serveActor, serveRaw, stage, stdioActor } from "./support/stage.ts"

const token = "t0ken-CANARY-5f3a"
const bearer = { authorization: `Bearer ${token}` }
const disposables: AsyncDisposable[] = []
afterAll(async () => {
  for (const thing of disposables.toReversed()) await thing[Symbol.asyncDispose]()
})
async function start(options: Parameters<typeof startDaemon>[0]): Promise<Daemon> {
  const daemon = await startDaemon(options)
  disposables.push(daemon)
  return daemon
}

/** A request with headers that `fetch` would not let through. Resolves with the status. */
function statusOf(url: string, headers: Record<string, string>, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (response) => {
      response.resume()
      response.once("end", () => resolve(response.statusCode ?? 0))
    })
    sent.once("error", reject)
    sent.end()
  })
}

describe("a daemon with a token", () => {
  let daemon: Daemon
  beforeAll(async () => {
    daemon = await start({ args: ["--auth-token", token], env: { CLARITYD_AUTH_TOKEN: "of-the-environment" }, token })
  })

  it("takes it as Bearer and as x-clarity-token, on the API and on /mcp; the flag wins over the variable", async () => {
    for (const headers of [bearer, { "x-clarity-token": token }] as Record<string, string>[]) {
      expect((await fetch(`${daemon.url}/api/status`, { headers })).status).toBe(200)
      expect((await ask(daemon.url, "legacy", "ping", {}, { headers }))["result"]).toEqual({})
      expect((await ask(daemon.url, "modern", "tools/list", {}, { headers }))["result"].tools).toBeInstanceOf(Array)
    }
    const other = { authorization: "Bearer of-the-environment" }
    expect((await fetch(`${daemon.url}/api/status`, { headers: other })).status).toBe(401)
  })

  it("refuses everybody else with a challenge", async () => {
    const wrong: Record<string, string>[] = [
      {},
      { authorization: "Bearer" },
      { authorization: `Bearer ${token}x` },
      { authorization: `Bearer ${token.slice(0, -1)}` },
      { authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` },
      { "x-clarity-token": "" },
    ]
    for (const headers of wrong) {
      const api = await fetch(`${daemon.url}/api/status`, { headers })
      const mcp = await post(`${daemon.url}/mcp`, '{"jsonrpc":"2.0","id":1,"method":"ping"}', { headers })
      for (const response of [api, mcp]) {
        expect(response.status).toBe(401)
        expect(response.headers.get("www-authenticate")).toMatch(/^Bearer/)
        expect(await response.text()).not.toContain(token)
      }
    }
    expect((await fetch(`${daemon.url}/api/status?token=${token}`)).status).toBe(401)
  })

  it("guards every route of the API document, and tells a stranger nothing of its state", async () => {
    const document = (await (await fetch(`${daemon.url}/api/openapi.json`, { headers: bearer })).json()) as Message
    const routes = Object.entries(document["paths"] as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods).map(
        (method) => [method.toUpperCase(), path.replace(/\{\w+\}/g, "svc_000000000000")] as const,
      ),
    )
    expect(routes.length).toBeGreaterThan(20)
    for (const [method, path] of [...routes, ["GET", "/api/openapi.json"], ["GET", "/api/nothing"]] as const) {
      const response = await fetch(daemon.url + path, { method })
      expect({ method, path, status: response.status }).toEqual({ method, path, status: 401 })
    }
    const page = await fetch(`${daemon.url}/status`)
    expect(page.status).toBe(401)
    expect(await page.text()).not.toContain(daemon.workspace)
    expect((await fetch(`${daemon.url}/healthz`)).status).toBe(200)
  })

  it("answers every route of the API document to who has it, with JSON or a stream", async () => {
    const { serviceId: id } = await daemon.register(manifest("swept", stdioActor(stage(daemon.workspace, "swept"))))
    const document = (await (await fetch(`${daemon.url}/api/openapi.json`, { headers: bearer })).json()) as Message
    const last = (path: string) => (path.endsWith("{id}") ? 1 : 0)
    const paths = Object.entries(document["paths"] as Record<string, object>).toSorted(([a], [b]) => last(a) - last(b))
    for (const [path, methods] of paths)
      for (const method of Object.keys(methods)) {
        if (path === "/api/events") continue
        const response = await fetch(daemon.url + path.replace("{id}", id), {
          method: method.toUpperCase(),
          headers: { ...bearer, "content-type": "application/json" },
          ...(method === "get" ? {} : { body: "{}" }),
        })
        const answer = (await response.json()) as Message
        // An input that is missing is said to be missing; nothing is a fault of the daemon.
        expect({ path, method, status: response.status < 500 }).toEqual({ path, method, status: true })
        if (!response.ok) expect(answer).toMatchObject({ error: expect.any(String), code: expect.any(String) })
      }
  })
})

describe("a daemon with a token in the environment", () => {
  it.each(["CLARITYD_AUTH_TOKEN", "CLARITY_API_TOKEN"])("%s guards it as well", async (name) => {
    const daemon = await start({ env: { [name]: token }, token })
    expect((await fetch(`${daemon.url}/api/status`)).status).toBe(401)
    expect((await daemon.client.status({})).gateway.healthy).toBe(true)
    await daemon.stop()
  })
})

describe("a daemon without a token", () => {
  let daemon: Daemon
  beforeAll(async () => {
    daemon = await start({})
  })

  it("breakage 7: serves nobody who came by another name or from a web page", async () => {
    const forged: Record<string, string>[] = [
      { host: "attacker.example" },
      { host: `attacker.example:${new URL(daemon.url).port}` },
      { host: "127.0.0.1.attacker.example" },
      { origin: "http://evil.example" },
      { origin: "null" },
      { "sec-fetch-site": "cross-site" },
    ]
    for (const headers of forged)
      for (const path of ["/api/status", "/mcp", "/status"])
        expect({ headers, path, status: await statusOf(daemon.url + path, headers) }).toEqual({
          headers,
          path,
          status: 403,
        })
    expect(await statusOf(`${daemon.url}/api/status`, { origin: daemon.url })).toBe(200)
    expect(await statusOf(`${daemon.url}/api/status`, { host: `localhost:${new URL(daemon.url).port}` })).toBe(200)
  })

  const outer = Object.values(networkInterfaces())
    .flat()
    .find((entry) => entry?.family === "IPv4" && !entry.internal)?.address
  it.runIf(outer !== undefined)("that listens on every address serves this machine only", async () => {
    const open = await start({ args: ["--host", "0.0.0.0"] })
    const { port } = new URL(open.url)
    expect(await statusOf(`http://127.0.0.1:${port}/api/status`, {})).toBe(200)
    for (const path of ["/api/status", "/mcp"])
      expect([401, 403]).toContain(await statusOf(`http://${outer}:${port}${path}`, { host: `127.0.0.1:${port}` }))
    await open.stop()
  })
})

describe("provisioning", () => {
  const gated = [
    "runtime__register_local",
    "runtime__register_remote",
    "runtime__register_via_url",
    "runtime__apply_manifest",
    "runtime__set_auth_secret",
    "runtime__delete_auth_secret",
  ]

  it("breakages 5 and 8: is off unless somebody switched it on; tools are not there, secrets are not written", async () => {
    const daemon = await start({})
    const names = await namesOf(daemon.url)
    for (const name of gated) {
      expect(names).not.toContain(name)
      await expect(callTool(daemon.url, name, {})).rejects.toThrow("-32602 unknown tool")
    }
    expect(names).toContain("runtime__status_summary")
    await expect(daemon.client.setAuthSecret({ authRef: "file:x", secret: "s" })).rejects.toMatchObject({
      code: "forbidden",
    })
    await expect(daemon.client.deleteAuthSecret({ authRef: "file:x" })).rejects.toMatchObject({ code: "forbidden" })
    // Running programs by tool (0.9's breakage 8) is not there at all.
    expect(names.filter((name) => name.startsWith("clarity__"))).toEqual([])
  })

  it("switched on: a model registers, sees and removes services of every kind", async () => {
    const daemon = await start({ env: { CLARITY_ENABLE_MCP_PROVISIONING: "1" } })
    const upstream = await serveActor(stage(daemon.workspace, "by-tool"))
    disposables.push(upstream)
    expect(await namesOf(daemon.url)).toEqual(expect.arrayContaining(gated))
    const made: Message[] = []
    made.push(await callTool(daemon.url, "runtime__register_remote", { endpoint: upstream.url, module: "by_tool" }))
    made.push(
      await callTool(daemon.url, "runtime__register_local", {
        wasm_path: inRoot("test/fixtures/clarity/ints.wasm"),
        module: "by_path",
      }),
    )
    made.push(
      await callTool(daemon.url, "runtime__apply_manifest", {
        manifest: manifest("by_manifest", stdioActor(stage(daemon.workspace, "by-manifest"))),
      }),
    )
    for (const result of made) {
      expect(result["isError"]).toBeUndefined()
      expect(result["structuredContent"].service.runtime).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    }
    expect(textOf(await callTool(daemon.url, "by_tool__echo", { text: "x" }))).toBe("x")
    const id = made[0]?.["structuredContent"].service.serviceId
    const listed = await callTool(daemon.url, "runtime__list_services", {})
    expect(listed["structuredContent"]).toEqual(await daemon.client.listServices({}))
    for (const [tool, lifecycle] of [
      ["stop", "STOPPED"],
      ["start", "RUNNING"],
      ["restart", "RUNNING"],
    ]) {
      const moved = await callTool(daemon.url, `runtime__${tool}_service`, { service_id: id })
      expect(moved["structuredContent"].service.runtime.lifecycle).toBe(lifecycle)
    }
    const refreshed = await callTool(daemon.url, "runtime__refresh_interface", { service_id: id })
    expect(refreshed["structuredContent"].diff).toEqual({ added: [], removed: [], changed: [] })
    const unknown = await callTool(daemon.url, "runtime__get_service", { service_id: "svc_000000000000" })
    expect(unknown["isError"]).toBe(true)
    expect(textOf(unknown)).toContain("svc_000000000000")
    const removed = await callTool(daemon.url, "runtime__remove_service", { service_id: id })
    expect(removed["structuredContent"]).toMatchObject({ removed: true, serviceId: id })
  })

  it("by URL refuses private addresses, whatever the host is called", async () => {
    const daemon = await start({ env: { CLARITY_ENABLE_MCP_PROVISIONING: "1" } })
    const server = await serveRaw(
      (_request, response) => void response.end(JSON.stringify(manifest("x", wasm("/x.wasm")))),
    )
    disposables.push(server)
    for (const url of [
      server.url,
      server.url.replace("127.0.0.1", "localhost"),
      "http://169.254.169.254/",
      "file:///etc/passwd",
    ]) {
      const result = await callTool(daemon.url, "runtime__register_via_url", { url })
      expect(result["isError"]).toBe(true)
    }
    expect(server.seen).toEqual([])
    expect((await daemon.client.listServices({})).total).toBe(0)
  })
})

describe("CLARITY_REMOTE_ALLOWED_HOSTS", () => {
  it("breakage 11: holds at registration, and after a redirect", async () => {
    const daemon = await start({ env: { CLARITY_REMOTE_ALLOWED_HOSTS: "127.0.0.1" } })
    const upstream = await serveActor(stage(daemon.workspace, "allowed"))
    disposables.push(upstream)
    expect((await daemon.register(manifest("allowed", remote(upstream.url)))).runtime.lifecycle).toBe("RUNNING")
    const named = upstream.url.replace("127.0.0.1", "localhost")
    await expect(daemon.register(manifest("named", remote(named)))).rejects.toMatchObject({ code: "policy_denied" })
    const hops = await serveRaw((_request, response) => void response.writeHead(307, { location: named }).end())
    disposables.push(hops)
    const before = upstream.seen.length
    const { runtime } = await daemon.register(manifest("hops", remote(hops.url)))
    expect(runtime.lifecycle).not.toBe("RUNNING")
    expect(upstream.seen.length).toBe(before)
  })
})

describe("secrets", () => {
  const canary = "s3cret-CANARY-91ab"
  const workspace = temporaryDirectory()

  it("breakages 9, 10 and 13: reach the upstream or child they are meant for, and nobody else hears of them", async () => {
    const outside = join(workspace, "outside.txt")
    mkdirSync(join(workspace, ".clarity", "secrets"), { recursive: true, mode: 0o700 })
    writeFileSync(outside, `${canary}-outside`)
    symlinkSync(workspace, join(workspace, ".clarity", "secrets", "link"))
    const env = {
      CLARITY_ENABLE_MCP_PROVISIONING: "1",
      CLARITY_REMOTE_AUTH_UPSTREAM: `${canary}-legacy`,
      CLARITYD_AUTH_TOKEN: token,
      UNRELATED_VARIABLE: `${canary}-unrelated`,
    }
    const daemon = await start({ workspace, env, token })
    const headers = bearer
    const heard: string[] = []
    const hear = async (answer: Promise<unknown>) => {
      const said = await answer.then(
        JSON.stringify,
        (error: Error & { data?: unknown }) => `${error.message} ${JSON.stringify(error.data)}`,
      )
      heard.push(said)
      return said
    }

    // file: secrets are written through the gate and never echoed.
    await hear(daemon.client.setAuthSecret({ authRef: "file:upstream.txt", secret: `${canary}-file` }))
    await hear(
      callTool(
        daemon.url,
        "runtime__set_auth_secret",
        { auth_ref: "file:other.txt", secret: `${canary}-tool` },
        { headers },
      ),
    )
    await hear(daemon.client.listAuthSecrets({}))
    await hear(daemon.client.authProviders({}))
    expect(statSync(join(workspace, ".clarity", "secrets", "upstream.txt")).mode & 0o077).toBe(0)

    const upstream = await serveActor(stage(workspace, "with-secret"))
    disposables.push(upstream)
    for (const [module, authRef, value] of [
      ["by_file", "file:upstream.txt", `${canary}-file`],
      ["by_name", "upstream", `${canary}-legacy`],
    ] as const) {
      const service = await daemon.register(manifest(module, remote(upstream.url, { authRef })))
      expect(service.runtime).toMatchObject({ lifecycle: "RUNNING" })
      await hear(Promise.resolve(service))
      expect(upstream.seen.some((request) => JSON.stringify(request.headers).includes(value))).toBe(true)
      await hear(daemon.client.validateAuthRef({ authRef }))
    }

    // breakage 10: references that lead out of their place are refused, and their targets are not shown.
    for (const authRef of [
      "file:../outside.txt",
      `file:${outside}`,
      "file:link/outside.txt",
      "env:PATH",
      "env:HOME",
      "env:CLARITYD_AUTH_TOKEN",
    ]) {
      const service = await daemon.register(
        manifest(`bad_${authRef.replace(/\W/g, "_")}`, remote(upstream.url, { authRef })),
      )
      expect({ authRef, lifecycle: service.runtime.lifecycle }).not.toEqual({ authRef, lifecycle: "RUNNING" })
      await hear(Promise.resolve(service))
      await hear(daemon.client.validateAuthRef({ authRef }))
    }
    expect(upstream.seen.some((request) => /outside|unrelated|t0ken/.test(JSON.stringify(request.headers)))).toBe(false)

    // A child gets what was declared for it, and nothing of the daemon's own.
    const scene = stage(workspace, "child")
    const variables = [
      { name: "MY_KEY", secretRef: "file:upstream.txt" },
      { name: "PLAIN", value: `${canary}-value` },
    ]
    const child = await daemon.register(manifest("child", stdioActor(scene, "actor", { env: variables })))
    await hear(Promise.resolve(child))
    expect(child.runtime.lifecycle, "the secret is bound to the service that used it first").not.toBe("RUNNING")
    expect(child.runtime.lastError).toContain("clarityctl auth bind file:upstream.txt")
    await hear(daemon.client.bindAuthRef({ authRef: "file:upstream.txt", id: child.serviceId }))
    await hear(daemon.client.startService({ id: child.serviceId }))
    const environment = JSON.parse(textOf(await callTool(daemon.url, "child__environment", {}, { headers }))) as Record<
      string,
      string
    >
    expect(environment).toMatchObject({ MY_KEY: `${canary}-file`, PLAIN: `${canary}-value` })
    expect(Object.keys(environment).filter((name) => /^CLARITYD?_(?!PROCESS_COOKIE)|^UNRELATED/.test(name))).toEqual([])
    expect(JSON.stringify(environment)).not.toContain(token)

    // A call's arguments are nobody's business either (breakage 13).
    await callTool(daemon.url, "child__echo", { text: `${canary}-argument` }, { headers })
    await hear(callTool(daemon.url, "child__no_such", { text: `${canary}-argument` }, { headers }))
    for (const { serviceId: id } of (await daemon.client.listServices({})).items) {
      await hear(daemon.client.getDetails({ id }))
      await hear(daemon.client.getLogs({ id }))
    }
    await hear(daemon.client.status({}))
    await hear(daemon.client.getAudit({ limit: 2000 }))
    await hear(fetch(`${daemon.url}/status`, { headers }).then((response) => response.text()))
    await daemon.client.deleteAuthSecret({ authRef: "file:other.txt" })
    expect(heard.filter((said) => said.includes(canary) || said.includes(token))).toEqual([])
    expect(daemon.program.stdout() + daemon.program.stderr()).not.toMatch(/CANARY/)
    await daemon.stop()

    const state = join(workspace, ".clarity", "runtime")
    const files = readdirSync(state, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    for (const file of files) {
      const path = join(file.parentPath, file.name)
      const text = readFileSync(path, "utf8").replaceAll(`${canary}-value`, "a value the manifest itself carries")
      expect({ path, leaks: /CANARY/.test(text) }).toEqual({ path, leaks: false })
      expect(statSync(path).mode & 0o077).toBe(0)
    }
  })
})
