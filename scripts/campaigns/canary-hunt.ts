import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { launchDaemon, manifest, remote, startDaemon, temporaryDirectory, wasm } from "../../test/e2e/support/daemon.ts"
import { serveNonce } from "../../test/e2e/support/nonce.ts"
import { inRoot, inSupport } from "../../test/e2e/support/process.ts"
import { wire, type Answer, type Wire } from "../../test/e2e/support/wire.ts"
import { readCommands, readEvents, readFiles, readProcesses, readRoutes } from "./canary-reading.ts"
import { failures, oauthServers, type Intercept } from "./canary-servers.ts"
import { createSinks, freshValue, type Canary, type SinkRow } from "./sinks.ts"

export interface HuntOptions {
  /** Every fifth command of the command line only, and no call that has to wait for a service that does not come. */
  readonly few?: boolean
  report?(line: string): void
}

interface Applied {
  readonly service: { readonly serviceId: string }
}

export interface Hunt {
  readonly planted: number
  readonly rows: readonly SinkRow[]
  readonly hits: readonly string[]
  /** Canaries that never came where they were meant to go: their silence elsewhere proves nothing. */
  readonly unused: readonly string[]
}

const accept = { "content-type": "application/json", accept: "application/json, text/event-stream" }
const plainJson = { "content-type": "application/json" }
const modern = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call" }
const meta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
}

/**
 * Puts secrets wherever a secret can be, lets everything happen that makes programs talkative, and looks for them in
 * everything anybody can read: what was said, answered, written, logged, handed to children and to other servers.
 */
export async function hunt({ few = false, report = () => {} }: HuntOptions = {}): Promise<Hunt> {
  const sinks = createSinks()
  const canaries: Canary[] = []
  const plant = (name: string, ...may: string[]): string => {
    const value = freshValue()
    canaries.push({ name, value, may })
    return value
  }
  const workspace = temporaryDirectory()
  const outside = temporaryDirectory()
  const disposables: AsyncDisposable[] = []
  try {
    await everything()
  } finally {
    for (const thing of disposables.toReversed()) await thing[Symbol.asyncDispose]()
  }
  const { rows, hits } = sinks.scan(canaries)
  const unused = canaries.filter(({ may, value }) => may.length > 0 && !may.some((sink) => sinks.has(sink, value)))
  if (hits.length === 0) rmSync(workspace, { recursive: true, force: true })
  return { planted: canaries.length, rows, hits, unused: unused.map(({ name }) => name) }

  async function everything(): Promise<void> {
    const upstream = async (name: string, intercept: Intercept = () => false) => {
      const server = await serveNonce("modern", {
        intercept(request, body, response) {
          sinks.add(
            `upstream ${name}: requests`,
            `${request.method} ${request.url}\n${JSON.stringify(request.rawHeaders)}\n${body}`,
          )
          return intercept(request, body, response)
        },
      })
      disposables.push(server)
      return server.url
    }
    const own = (name: string) => [`upstream ${name}: requests`]

    // Where a daemon gets its secrets from.
    const admin = plant("the daemon's token")
    const exec = plant("what a program prints", ...own("exec"))
    const env: Record<string, string> = {
      CLARITYD_AUTH_TOKEN: admin,
      CLARITY_ENABLE_MCP_PROVISIONING: "1",
      CLARITYD_KEY_FILE: join(outside, "clarityd.key"),
      TMPDIR: join(outside, "tmp"),
      XDG_CONFIG_HOME: join(outside, "config"),
      CLARITY_REMOTE_AUTH_LEGACY: plant("a secret by its old name", ...own("legacy")),
      UP_ENV: plant("env:", ...own("env")),
      UP_HEADER: plant("header_env:", ...own("header")),
      UP_UNUSED: plant("env: of a reference that was only validated"),
      CHILD_REF: plant("a child's secretRef", "environment of child"),
      CLIENT_SECRET: plant("an OAuth client's secret", "authorization server: requests"),
    }
    for (const name of ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "DATABASE_URL", "NPM_CONFIG__AUTH"])
      env[name] = plant(`the daemon's variable ${name}`)
    mkdirSync(join(outside, "tmp"))
    mkdirSync(join(workspace, ".clarity", "build"), { recursive: true })
    const put = (name: string, content: unknown) =>
      writeFileSync(join(workspace, ".clarity", name), typeof content === "string" ? content : JSON.stringify(content))
    writeFileSync(join(outside, "print-secret"), `#!/bin/sh\necho ${exec}\n`, { mode: 0o700 })
    const settings = { credentials: { exec: [join(outside, "print-secret")] } }
    await failingStarts(put)
    put("clarityd.json", settings)
    put("policy.json", {
      apiVersion: "clarity.policy/v1",
      rules: [
        { effect: "deny", tools: ["denied"], listed: true },
        { effect: "ask", services: ["asked"] },
      ],
    })

    const daemon = await startDaemon({ workspace, env, token: admin })
    const api = wire(daemon.url)
    const bearer = { authorization: `Bearer ${admin}` }
    const streaming = new AbortController()
    const streams = readEvents(daemon, bearer, sinks, streaming.signal)

    report("secrets, tokens, services")
    const stored = plant("file:, by the API", ...own("file"))
    await ask("POST", "/api/security/auth/secrets", { authRef: "file:stored", secret: stored })
    const short = plant("file:, of a child", "environment of child")
    await ask("POST", "/api/security/auth/secrets", { authRef: "file:of_child", secret: short })
    await ask("POST", "/api/security/auth/secrets", {
      authRef: "env:NOT_HERE",
      secret: plant("a secret with a reference that takes none"),
    })
    await ask("POST", "/api/security/auth/secrets", {
      authRef: "file:../out",
      secret: plant("a secret with a path that leads out"),
      extra: true,
    })
    const token = await handedOut("reader", ["read", "call"])
    const revoked = await handedOut("gone", ["call"])
    await ask("DELETE", "/api/tokens/gone")

    const query = plant("an endpoint's query", ...own("env"), "files: registry", "files: other state")
    const childValue = plant("a child's plain variable", "environment of child", "files: registry")
    const argument = plant(
      "an argument of a child's command",
      "command lines of children",
      "files: registry",
      "files: process records",
    )
    const apply = (given: ServiceManifestInput | object) =>
      ask("POST", "/api/services/apply", { manifest: given, startNow: true })
    await apply(manifest("env", remote(`${await upstream("env")}?api_key=${query}`, { authRef: "env:UP_ENV" })))
    await apply(manifest("header", remote(await upstream("header"), { authRef: "header_env:X-Key:UP_HEADER" })))
    await apply(manifest("file", remote(await upstream("file"), { authRef: "file:stored" })))
    await apply(manifest("legacy", remote(await upstream("legacy"), { authRef: "legacy" })))
    await apply(
      manifest(
        "exec",
        remote(await upstream("exec"), { authRef: `exec:${JSON.stringify([join(outside, "print-secret")])}` }),
      ),
    )
    await apply(manifest("plain", remote(await upstream("plain"))))
    await apply(manifest("asked", remote(await upstream("asked"))))
    await apply(manifest("thief", remote(await upstream("thief"), { authRef: "env:UP_ENV" })))
    for (const [name, answer] of Object.entries(failures(plant)))
      await apply(manifest(name, remote(await upstream(name, answer))))
    const oauth = await oauthServers({
      access: plant("an OAuth access token", ...own("oauth")),
      refresh: plant("an OAuth refresh token"),
      heard: (request) => sinks.add("authorization server: requests", request),
    })
    disposables.push(oauth)
    const { serviceId } = (
      JSON.parse(await apply(manifest("oauth", remote(await upstream("oauth", oauth.gate))))) as Applied
    ).service
    const login = {
      flow: "client_credentials",
      clientId: "canaries",
      clientSecretRef: "env:CLIENT_SECRET",
      issuer: oauth.issuer,
    }
    await ask("POST", `/api/services/${serviceId}/login`, login)
    await apply(
      manifest("child", {
        type: "local_stdio",
        command: process.execPath,
        args: [inSupport("nonce.ts"), "modern", `--api-key=${argument}`],
        env: [
          { name: "MY_SECRET", secretRef: "env:CHILD_REF" },
          { name: "MY_FILE", secretRef: "file:of_child" },
          { name: "MY_VALUE", value: childValue },
        ],
      }),
    )
    await apply(manifest("noisy", { type: "local_stdio", command: "/bin/sh", args: ["-c", "env >&2; exit 3"] }))
    const module = join(workspace, ".clarity", "build", "sample.wasm")
    for (const end of ["wasm", "clarity"]) copyFileSync(inRoot(`examples/sample.${end}`), module.replace(/wasm$/, end))
    await apply(manifest("wasm", wasm(module)))
    const user = plant("credentials in an endpoint that is refused")
    await apply(manifest("refused", remote(`http://me:${user}@127.0.0.1:1/mcp`)))
    await apply({
      ...manifest("refused", remote("http://127.0.0.1:1/mcp")),
      password: plant("an unknown key of a manifest"),
    })
    await ask("POST", "/api/security/auth/validate", { authRef: "env:UP_UNUSED" })

    report("calls, good and bad")
    const headers = {
      ...bearer,
      cookie: plant("a Cookie header"),
      "x-api-key": plant("an X-API-Key header"),
      "x-anything": plant("any other header"),
      "proxy-authorization": `Basic ${plant("a Proxy-Authorization header")}`,
    }
    for (const name of ["env", "header", "file", "legacy", "exec", "plain", "child", "oauth"])
      await call(
        api,
        `${name}__nonce`,
        { nonce: plant(`an argument of a call to ${name}`, ...own(name), "own answers") },
        headers,
      )
    await call(api, "wasm__fn__same", { text: plant("an argument of a call to a module", "own answers") }, headers)
    for (const name of ["failing_500", "failing_401", "failing_html", "failing_json", "failing_move"])
      await call(api, `${name}__nonce`, { nonce: plant(`an argument of a call to ${name}`, ...own(name)) }, headers)
    const waiting = wire(daemon.url)
    const late = (async () => {
      for (const name of few ? [] : ["thief", "noisy"])
        await call(waiting, `${name}__nonce`, { nonce: plant(`an argument of ${name}, which does not run`) }, headers)
    })()
    await call(api, "plain__no_such", { nonce: plant("an argument of an unknown tool") }, headers)
    await call(api, "plain__denied", { nonce: plant("an argument of a denied tool") }, headers)
    await call(
      api,
      "asked__nonce",
      { nonce: plant("an argument that a person must see", "answers: /api/approvals", "command line: approvals list") },
      headers,
    )
    await call(api, "wasm__fn__same", { text: 3, wrong: plant("an argument of the wrong kind") }, headers)
    await heard(
      "POST",
      "/mcp",
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"secret":"${plant("a body that is no JSON")}"`,
      { ...accept, ...bearer },
    )
    await heard("POST", "/mcp", `"${plant("a body that is no message")}"`, { ...accept, ...bearer })
    await heard("POST", "/mcp", "{}", { ...accept, authorization: `Bearer ${plant("a wrong bearer token")}` })
    await heard("POST", "/mcp", "{}", { ...accept, authorization: `Basic ${plant("a wrong Basic credential")}` })
    await heard("POST", "/mcp", "{}", { ...accept, "x-clarity-token": plant("a wrong x-clarity-token") })
    await heard("POST", "/mcp", "{}", { ...accept, authorization: `Bearer ${revoked}` })
    await heard("GET", `/api/status?token=${plant("a token in the query")}`, "", bearer)
    await heard("GET", "/api/status", "", {
      authorization: `Bearer ${token}`,
      host: "evil.example",
      cookie: plant("the cookie of a refused page"),
    })
    await heard(
      "POST",
      "/api/call",
      `{"tool": "plain__nonce", "arguments": {"nonce": "${plant("half a body of the API")}`,
      { ...accept, ...bearer },
    )
    await heard(
      "POST",
      "/api/call",
      JSON.stringify({ tool: 7, arguments: { nonce: plant("a body of the API with a wrong key") } }),
      { ...accept, ...bearer },
    )
    put("clarityd.json", `{ "secret": ${plant("a configuration that is no JSON")}`)
    await ask("POST", "/api/config/reload", {})
    put("clarityd.json", { ...settings, password: plant("an unknown key of the configuration") })
    await ask("POST", "/api/config/reload", {})
    put("policy.json", `{ "apiVersion": ${plant("rules that are no JSON")}`)
    await ask("POST", "/api/policy/reload", {})
    rmSync(join(workspace, ".clarity", "clarityd.json"))
    rmSync(join(workspace, ".clarity", "policy.json"))

    await late
    waiting[Symbol.dispose]()
    for (const name of ["get_audit", "list_services", "status_summary", "list_auth_secrets"])
      await call(api, `runtime__${name}`, {}, headers, "answers: tools of the runtime")

    report("everything that can be read")
    await readRoutes(daemon, ask)
    await heard("GET", "/status", "", bearer, "status page")
    await readCommands(daemon, admin, sinks, few)
    readProcesses(daemon, sinks)
    await sleep(500)
    streaming.abort()
    await streams
    api[Symbol.dispose]()
    await daemon.stop()
    sinks.add("daemon: standard output", daemon.program.stdout())
    sinks.add("daemon: standard error", daemon.program.stderr())
    readFiles(join(workspace, ".clarity"), sinks)
    readFiles(join(outside, "tmp"), sinks)

    async function heard(
      method: string,
      path: string,
      body: string,
      sent: Record<string, string>,
      sink = `answers: ${path.split("?")[0]}`,
    ): Promise<string> {
      const { status, headers: got, text } = await patiently(() => api.send(method, path, sent, body))
      sinks.add(sink, `${status} ${JSON.stringify(got)}\n${text}`)
      return text
    }

    async function ask(method: string, path: string, body?: unknown): Promise<string> {
      const sink = path.replace(/\/svc_\w+/, "/{id}").split("?")[0]
      return heard(
        method,
        path,
        body === undefined ? "" : JSON.stringify(body),
        { ...plainJson, ...bearer },
        `answers: ${sink}`,
      )
    }

    async function handedOut(name: string, scopes: readonly string[]): Promise<string> {
      const { text } = await api.send("POST", "/api/tokens", { ...accept, ...bearer }, JSON.stringify({ name, scopes }))
      const { value } = JSON.parse(text) as { value: string }
      canaries.push({ name: `the token ${name}`, value, may: [] })
      return value
    }

    async function call(
      over: Wire,
      name: string,
      args: object,
      sent: Record<string, string>,
      sink = "own answers",
    ): Promise<void> {
      const message = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args, _meta: meta } }
      const all = { ...accept, ...modern, "mcp-name": name, ...sent }
      const answer = await patiently(() => over.send("POST", "/mcp", all, JSON.stringify(message)))
      const good = answer.status === 200 && !/"isError":true|"error":/.test(answer.text)
      sinks.add(
        good ? sink : "answers: failed calls",
        `${answer.status} ${JSON.stringify(answer.headers)}\n${answer.text}`,
      )
    }
  }

  /** Programs that do not get as far as to serve. */
  async function failingStarts(put: (name: string, content: unknown) => void): Promise<void> {
    const starts: readonly (readonly [string, () => Record<string, string>])[] = [
      [
        "clarityd.json",
        () => (put("clarityd.json", `{"token": ${plant("a configuration that is no JSON, at the start")}`), {}),
      ],
      ["clarityd.json", () => (put("clarityd.json", { token: plant("an unknown key, at the start") }), {})],
      ["clarityd.json", () => ({ CLARITY_REMOTE_MAX_CONCURRENCY: plant("a number that is none") })],
    ]
    for (const [file, prepare] of starts) {
      put(file, "{}")
      const program = launchDaemon({ workspace, env: prepare() })
      const late = setTimeout(() => program.child.kill(), 10_000)
      await program.exited
      clearTimeout(late)
      sinks.add("starts that fail", `${program.stdout()}\n${program.stderr()}`)
    }
  }
}

/** Asks again while a daemon that does not keep up turns everybody away: what it says then is no answer to this. */
async function patiently(send: () => Promise<Answer>): Promise<Answer> {
  for (let tries = 0; ; tries++) {
    const answer = await send()
    if (answer.status !== 503 || tries === 40) return answer
    await sleep(250)
  }
}
