import { spawn } from "node:child_process"
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createServer, request as httpRequest } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js"
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js"
import { afterAll, expect, it } from "vitest"
import {
  authorizationServer,
  browse,
  type AuthorizationServer,
} from "../../packages/auth-providers/test-support/servers.ts"
import "./support/clean-up.ts"
import { manifest, remote, startDaemon, temporaryDirectory, type Daemon, type DaemonOptions } from "./support/daemon.ts"
import { callTool, textOf } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"

const disposables: AsyncDisposable[] = []
afterAll(async () => {
  for (const thing of disposables.toReversed()) await thing[Symbol.asyncDispose]()
})

async function start(options: DaemonOptions = {}): Promise<Daemon> {
  const daemon = await startDaemon(options)
  disposables.push(daemon)
  return daemon
}

interface McpServer {
  readonly url: string
  /** Authorization headers, in order. */
  readonly seen: (string | undefined)[]
}

/** A real MCP server (SDK) that lets in whom `check` lets in. */
async function mcpServer(
  check: (token: string | undefined, url: string) => Promise<boolean>,
  metadata?: () => object,
): Promise<McpServer> {
  const seen: McpServer["seen"] = []
  const server = createServer((request, response) => {
    void (async () => {
      if (request.url === "/.well-known/oauth-protected-resource/mcp" && metadata !== undefined)
        return response
          .writeHead(200, { "content-type": "application/json" })
          .end(JSON.stringify({ resource: url, ...metadata() }))
      if (request.url !== "/mcp") return response.writeHead(404).end()
      const { authorization } = request.headers
      seen.push(authorization)
      if (!(await check(/^Bearer (.+)$/.exec(authorization ?? "")?.[1], url)))
        return response
          .writeHead(401, {
            "www-authenticate": `Bearer resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`,
          })
          .end()
      const sdk = new Server({ name: "notes", version: "1" }, { capabilities: { tools: {} } })
      sdk.setRequestHandler(ListToolsRequestSchema, () => ({
        tools: [{ name: "echo", inputSchema: { type: "object" } }],
      }))
      sdk.setRequestHandler(CallToolRequestSchema, () => ({ content: [{ type: "text", text: "heard" }] }))
      const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true })
      await sdk.connect(transport as Transport)
      return transport.handleRequest(request, response)
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const url = `${origin}/mcp`
  disposables.push({
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
  return { url, seen }
}

/** Runs clarityctl; `until` is told of each piece of stderr. */
async function ctl(daemon: Daemon, args: readonly string[], until: (stderr: string) => void = () => {}) {
  const child = spawn(
    process.execPath,
    ["--conditions=@clarity-runtime/source", inRoot("apps/ctl/bin/dev.js"), ...args],
    {
      env: { ...process.env, CLARITYD_URL: daemon.url },
      stdio: ["ignore", "pipe", "pipe"],
    },
  )
  let stdout = ""
  let stderr = ""
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => until((stderr += chunk.toString())))
  const code = await new Promise((resolve) => child.once("close", resolve))
  return { code, stdout, stderr }
}

const say = async (daemon: Daemon, name: string) => textOf(await callTool(daemon.url, name, {}))

it("clarityctl auth login: a browser, a real authorization server, a real MCP server, and a restart", async () => {
  const as: AuthorizationServer = await authorizationServer()
  disposables.push(as)
  const mcp = await mcpServer(
    async (token, url) => token !== undefined && (await as.good(token, url)) !== undefined,
    () => ({ authorization_servers: [as.url], scopes_supported: ["notes:read"] }),
  )
  const workspace = temporaryDirectory()
  const key = join(temporaryDirectory(), "clarityd.key")
  let daemon = await start({ workspace, env: { CLARITYD_KEY_FILE: key } })
  const { serviceId, runtime } = await daemon.register(manifest("notes", remote(mcp.url)))
  expect([runtime.health, runtime.hint]).toEqual(["UNAUTHORIZED", "log in: clarityctl auth login notes"])

  let page: Promise<string> | undefined
  const { code, stdout, stderr } = await ctl(daemon, ["auth", "login", "notes"], (said) => {
    const url = /http:\S+/.exec(said)?.[0]
    if (url !== undefined) page ??= browse(url)
  })
  expect([code, stdout, await page]).toEqual([
    0,
    `notes is logged in at ${as.url}\n`,
    "Logged in. You can close this page.\n",
  ])
  expect(stderr).toContain("Open\n\n  http://")
  await expect.poll(() => daemon.state(serviceId)).toBe("RUNNING HEALTHY")
  expect(await say(daemon, "notes__echo")).toBe("heard")
  expect((await ctl(daemon, ["auth", "logins"])).stdout).toContain(as.url)

  await daemon.stop()
  daemon = await start({ workspace, env: { CLARITYD_KEY_FILE: key } })
  expect(await say(daemon, "notes__echo")).toBe("heard")
  expect(as.grants).toEqual(["authorization_code"])

  const tokens = new Set(mcp.seen.filter((one) => one !== undefined).map((one) => one.slice(7)))
  const state = join(workspace, ".clarity", "runtime")
  for (const name of readdirSync(state).filter((each) => statSync(join(state, each)).isFile()))
    for (const token of tokens) expect(readFileSync(join(state, name), "utf8")).not.toContain(token)
  for (const path of ["/api/logins", `/api/services/${serviceId}/details`, "/api/audit", "/api/status"])
    for (const token of tokens) expect(await (await fetch(daemon.url + path)).text()).not.toContain(token)

  expect((await ctl(daemon, ["auth", "logout", "notes"])).code).toBe(0)
  expect(await say(daemon, "notes__echo")).toContain("notes is not logged in")

  await daemon.stop()
  writeFileSync(key, `${Buffer.alloc(32, 1).toString("base64")}\n`)
  daemon = await start({ workspace, env: { CLARITYD_KEY_FILE: key } })
  const refused = await ctl(daemon, ["auth", "logins"])
  expect([refused.code, refused.stderr]).toEqual([74, expect.stringContaining(`the key ${key} is not the one`)])
})

it("the page a browser comes back to: addressed to us, by GET, and nothing of what it brings is shown", async () => {
  const daemon = await start()
  const { port } = new URL(daemon.url)
  const ask = (
    headers: Record<string, string>,
    method = "GET",
    path = "/oauth/callback?state=CANARY&code=CANARY&iss=<b>",
  ) =>
    new Promise<{ status: number; text: string; headers: object }>((resolve, reject) => {
      const sent = httpRequest({ host: "127.0.0.1", port, path, method, headers }, (response) => {
        let text = ""
        response.on("data", (chunk: Buffer) => (text += chunk.toString()))
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
      })
      sent.once("error", reject)
      sent.end()
    })
  const fromElsewhere = { "sec-fetch-site": "cross-site" }
  const known = await ask({ ...fromElsewhere, "sec-fetch-mode": "navigate" })
  expect([known.status, known.headers]).toMatchObject([400, { "content-security-policy": /default-src 'none'/ }])
  expect(known.text).not.toMatch(/CANARY|<b>/)
  expect((await ask({ ...fromElsewhere, "sec-fetch-mode": "no-cors" })).status).toBe(403)
  expect((await ask({ host: "evil.example" })).status).toBe(403)
  expect((await ask({ origin: "https://evil.example" })).status).toBe(403)
  expect((await ask({}, "HEAD")).status).toBe(400)
  expect((await ask({}, "POST")).status).toBe(404)
  expect((await ask({}, "GET", "/oauth/callback/more?state=x")).status).toBe(404)
})

it("a secret stays with the service and the address it was set for; a deleted one ends with the next call", async () => {
  const secret = "canary-4e11"
  const check = async (token: string | undefined) => token === secret
  const [first, second] = [await mcpServer(check), await mcpServer(async () => true)]
  const daemon = await start({ env: { CLARITY_ENABLE_MCP_PROVISIONING: "1" } })
  await daemon.client.setAuthSecret({ authRef: "file:key", secret })
  const one = await daemon.register(manifest("one", remote(first.url, { authRef: "file:key" })))
  expect(one.runtime.health).toBe("HEALTHY")

  const two = await daemon.register(manifest("two", remote(second.url, { authRef: "file:key" })))
  expect(two.runtime).toMatchObject({ health: "UNAUTHORIZED", lastError: /clarityctl auth bind file:key two$/ })
  expect(second.seen).toEqual([])
  const bound = await ctl(daemon, ["auth", "bind", "file:key", "two"])
  expect([bound.code, bound.stdout]).toEqual([0, `two may use file:key at ${new URL(second.url).origin}\n`])
  await daemon.client.startService({ id: two.serviceId })
  expect(await say(daemon, "two__echo")).toBe("heard")

  expect(await say(daemon, "one__echo")).toBe("heard")
  await daemon.client.deleteAuthSecret({ authRef: "file:key" })
  const before = first.seen.length
  expect(await say(daemon, "one__echo")).toContain("no such secret file")
  expect(first.seen).toHaveLength(before)

  await daemon.client.removeService({ id: two.serviceId })
  await expect
    .poll(async () => (await daemon.client.listAuthBindings({})).items.map((binding) => binding.serviceId))
    .toEqual([one.serviceId])
})
