import { doesNotMatch, equal } from "node:assert/strict"
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { connect, type AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { launchDaemon, manifest, remote, startDaemon, temporaryDirectory, wasm, type Daemon } from "./support/daemon.ts"
import { ask, callTool, failureOf, namesOf, post, send, textOf, type Message } from "./support/mcp.ts"
import { serveRaw, stage, stdioActor, type Stage, type Upstream } from "./support/stage.ts"

const soon = { timeout: 20_000 }
const stackLike = /\n\s+at |\.ts:\d|node_modules|node:internal/

let daemon: Daemon
let pid: number
let neighbour: Stage
const disposables: AsyncDisposable[] = []
beforeAll(async () => {
  daemon = await startDaemon()
  pid = (await daemon.client.status({})).runtime.pid
  neighbour = stage(daemon.workspace, "neighbour")
  await daemon.register(manifest("neighbour", stdioActor(neighbour)))
})
afterEach(async () => {
  // One clear error for whoever asked; the daemon lives and nobody else has noticed.
  equal(textOf(await callTool(daemon.url, "neighbour__echo", { text: "still" })), "still")
  equal((await daemon.client.status({})).runtime.pid, pid)
  equal(neighbour.events().filter((event) => event.startsWith("born")).length, 1)
  doesNotMatch(daemon.program.stderr(), stackLike)
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  for (const thing of disposables) await thing[Symbol.asyncDispose]()
})

/** Sends bytes as they are and gives the whole answer. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(daemon.url).port), "127.0.0.1", () => socket.write(text))
    let answer = ""
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString()))
    socket.once("close", () => resolve(answer))
    socket.once("error", reject)
  })
}

describe("a client that sends rubbish", () => {
  const ping = { jsonrpc: "2.0", id: 7, method: "ping" }
  it.each([
    ["malformed JSON", "{", -32700],
    ["nothing", "", -32700],
    ["a list where none is allowed", JSON.stringify([ping]), -32600],
    ["another protocol", JSON.stringify({ ...ping, jsonrpc: "1.0" }), -32600],
    ["no method", JSON.stringify({ jsonrpc: "2.0", id: 7 }), -32600],
    ["parameters of the wrong kind", JSON.stringify({ ...ping, params: 5 }), -32600],
    ["an unknown method", JSON.stringify({ ...ping, method: "no/such" }), -32601],
    ["a call without a name", JSON.stringify({ ...ping, method: "tools/call", params: {} }), -32602],
    ["an unknown tool", JSON.stringify({ ...ping, method: "tools/call", params: { name: "no__such" } }), -32602],
    ["an unknown prompt", JSON.stringify({ ...ping, method: "prompts/get", params: { name: "no__such" } }), -32602],
    [
      "an unknown resource",
      JSON.stringify({ ...ping, method: "resources/read", params: { uri: "no://such" } }),
      -32602,
    ],
    [
      "a name that is an object's own",
      JSON.stringify({ ...ping, method: "tools/call", params: { name: "__proto__" } }),
      -32602,
    ],
  ])("%s is one JSON-RPC error", async (_what, body, code) => {
    const response = await post(`${daemon.url}/mcp`, body)
    expect(response.headers.get("content-type")).toContain("application/json")
    const text = await response.text()
    const answer = JSON.parse(text) as Message
    expect(answer["error"].code).toBe(code)
    expect(text).not.toMatch(stackLike)
  })

  it("an unknown service is a 404 by name", async () => {
    const response = await send(daemon.url, "legacy", "tools/list", {}, { path: "/nobody" })
    expect(response.status).toBe(404)
    expect(await response.text()).toContain("nobody")
    await expect(daemon.client.getService({ id: "svc_000000000000" })).rejects.toMatchObject({ code: "not_found" })
  })

  it.each(["/mcp", "/api/services/apply"])(
    "a body for %s that is too large is refused: before it is sent, or on its way",
    async (path) => {
      const head = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n`
      const declared = await raw(`${head}Content-Length: 10737418240\r\n\r\n`)
      expect(declared).toMatch(/^HTTP\/1\.1 413 /)
      expect(declared.toLowerCase()).toContain("connection: close")
      expect(declared).toContain("payload_too_large")
      const [, limit = ""] = /too large \(>(\d+) bytes\)/.exec(declared) ?? []
      const size = Number(limit) + 1
      const streamed = await raw(`${head}Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${" ".repeat(size)}`)
      expect(streamed).toMatch(/^HTTP\/1\.1 413 /)
    },
  )

  it.each(["text/plain", "application/x-www-form-urlencoded", ""])(
    "content type %j is refused, so that no web page gets in without asking",
    async (type) => {
      const body = JSON.stringify({ manifest: manifest("evil", wasm("/x.wasm")) })
      const response = await fetch(`${daemon.url}/api/services/apply`, {
        method: "POST",
        headers: { "content-type": type },
        body: Buffer.from(body),
      })
      expect(response.status).toBe(415)
      expect((await daemon.client.listServices({})).items.map(({ module }) => module)).not.toContain("evil")
    },
  )

  it("breakage 1: GET // does not end the daemon", async () => {
    expect(await raw("GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1\.1 4\d\d /)
    expect(await raw("GET http://[ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")).toMatch(
      /^HTTP\/1\.1 4\d\d /,
    )
    expect(
      await raw("POST /\\\\mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ).toMatch(/^HTTP\/1\.1 [34]\d\d /)
    expect(await raw("NONSENSE\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /)
  })

  it("breakages 12 and 36: a manifest that breaks its schema is a 422 that names the place, and nothing is stored", async () => {
    const good = manifest("x", wasm("/x.wasm")) as unknown as Message
    const broken: [object, string][] = [
      [{ ...good, kind: "Other" }, "kind"],
      [{ ...good, spec: { ...good["spec"], suprise: 1 } }, "spec.suprise"],
      [{ ...good, metadata: { module: "x" } }, "metadata.sourceFile"],
      [{ ...good, spec: { origin: { type: "local_wasm" } } }, "spec.origin.wasmPath"],
      [{ ...good, spec: { origin: { type: "remote_mcp", endpoint: "ftp://x" } } }, "spec.origin.endpoint"],
      [{ ...good, spec: { origin: { type: "remote_mcp", endpoint: "http://u:p@x/" } } }, "spec.origin.endpoint"],
      [{ ...good, metadata: { sourceFile: "x", module: "x", serviceId: "../../etc/x" } }, "metadata.serviceId"],
      [{ ...good, metadata: { sourceFile: "x", module: "x", serviceId: "svc_someone_else" } }, "serviceId"],
    ]
    const before = (await daemon.client.listServices({})).total
    for (const [body, place] of broken) {
      const response = await post(`${daemon.url}/api/services/apply`, JSON.stringify({ manifest: body }))
      expect(response.status).toBe(422)
      const text = await response.text()
      expect(text).toContain(place)
      expect(text).not.toMatch(stackLike)
    }
    expect((await daemon.client.listServices({})).total).toBe(before)
  })

  it("a route that is not there, and a method it has not, are a 404", async () => {
    for (const [method, path] of [
      ["GET", "/api/nope"],
      ["PUT", "/api/services"],
      ["GET", "/nope"],
      ["DELETE", "/status"],
    ]) {
      const response = await fetch(daemon.url + path, { method: String(method) })
      expect([404, 405]).toContain(response.status)
      expect(await response.text()).not.toMatch(stackLike)
    }
  })
})

describe("an upstream that answers rubbish", () => {
  type Answer = (message: { id?: number; method?: string }, response: import("node:http").ServerResponse) => void
  const initialize = {
    protocolVersion: "2025-11-25",
    capabilities: { tools: {} },
    serverInfo: { name: "r", version: "1" },
  }
  const tools = { tools: [{ name: "work", inputSchema: { type: "object" } }] }
  const json = (response: import("node:http").ServerResponse, body: unknown) => {
    response.writeHead(200, { "content-type": "application/json" })
    response.end(JSON.stringify(body))
  }

  /** A server that behaves until the tool is called. */
  async function rogue(name: string, answer: Answer, spec: object = {}): Promise<Upstream> {
    const upstream = await serveRaw((request, response, body) => {
      if (request.method !== "POST") return void response.writeHead(405).end()
      const message = JSON.parse(body) as { id?: number; method?: string }
      if (message.id === undefined) return void response.writeHead(202).end()
      const results: Record<string, object> = { initialize, "tools/list": tools, ping: {} }
      const result = results[message.method ?? ""]
      if (result) return json(response, { jsonrpc: "2.0", id: message.id, result })
      if (message.method === "tools/call") return answer(message, response)
      json(response, { jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "no" } })
    })
    disposables.push(upstream)
    const service = await daemon.register(manifest(name, remote(upstream.url, spec), { era: "legacy" }))
    expect(service.runtime.lifecycle).toBe("RUNNING")
    return upstream
  }

  const cases: Record<string, { answer: Answer; codes: string[] }> = {
    html: {
      codes: ["upstream_invalid"],
      answer: (_m, response) =>
        response.writeHead(200, { "content-type": "text/html" }).end("<html>SECRET-OF-THE-UPSTREAM</html>"),
    },
    nothing: {
      codes: ["upstream_invalid", "outcome_unknown"],
      answer: (_m, response) => response.writeHead(200).end(),
    },
    accepted: {
      codes: ["upstream_invalid", "outcome_unknown"],
      answer: (_m, response) => response.writeHead(202).end(),
    },
    half_json: {
      codes: ["upstream_invalid"],
      answer: (_m, response) => response.writeHead(200, { "content-type": "application/json" }).end('{"jsonrpc":"2.0"'),
    },
    other_id: {
      codes: ["upstream_invalid", "outcome_unknown"],
      answer: (_m, response) => json(response, { jsonrpc: "2.0", id: 987_654, result: { content: [] } }),
    },
    no_object: {
      codes: ["upstream_invalid"],
      answer: ({ id }, response) => json(response, { jsonrpc: "2.0", id, result: 5 }),
    },
    error_500: {
      codes: ["upstream_invalid", "unavailable", "outcome_unknown"],
      answer: (_m, response) => response.writeHead(500).end("Traceback: SECRET-OF-THE-UPSTREAM"),
    },
    refused: {
      codes: ["upstream_unauthorized"],
      answer: (_m, response) => response.writeHead(401).end("SECRET-OF-THE-UPSTREAM"),
    },
    cut: { codes: ["outcome_unknown"], answer: (_m, response) => void response.socket?.destroy() },
    for_ever: {
      codes: ["result_too_large"],
      answer(_m, response) {
        response.writeHead(200, { "content-type": "application/json" })
        const more = () => {
          while (!response.destroyed && response.write("x".repeat(65_536)));
        }
        response.on("drain", more)
        more()
      },
    },
    silence: { codes: ["upstream_timeout"], answer: () => {} },
    elsewhere: {
      codes: ["upstream_invalid", "policy_denied", "unavailable"],
      answer: (_m, response) => response.writeHead(307, { location: "http://127.0.0.1:1/steal" }).end(),
    },
  }

  it.each(Object.keys(cases))(
    "%s: one error that a model can read, nothing of the upstream's own words",
    async (name) => {
      const { answer, codes } = cases[name] as (typeof cases)[string]
      await rogue(`rogue_${name}`, answer, name === "silence" ? { timeoutMs: 500 } : {})
      const result = await callTool(daemon.url, `rogue_${name}__work`)
      expect(result["isError"]).toBe(true)
      expect(codes).toContain(failureOf(result)["code"])
      expect(textOf(result)).toContain(`rogue_${name}`)
      expect(JSON.stringify(result)).not.toMatch(/SECRET-OF-THE-UPSTREAM|steal/)
      expect(JSON.stringify(result)).not.toMatch(stackLike)
    },
  )

  it("twice: the first answer counts, the second is nobody's", async () => {
    await rogue("twice", ({ id }, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      for (const text of ["first", "second"])
        response.write(
          `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: { content: [{ type: "text", text }] } })}\n\n`,
        )
      response.end()
    })
    for (let round = 0; round < 3; round++) expect(textOf(await callTool(daemon.url, "twice__work"))).toBe("first")
  })

  it("HTML, nothing or silence at the start: not RUNNING, with a reason and a hint", async () => {
    const upstreams: Record<string, Upstream> = {
      page: await serveRaw(
        (_request, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
      ),
      empty: await serveRaw((_request, response) => void response.writeHead(200).end()),
    }
    for (const [name, upstream] of Object.entries(upstreams)) {
      disposables.push(upstream)
      const { runtime } = await daemon.register(manifest(`start_${name}`, remote(upstream.url)))
      expect(runtime.lifecycle).not.toBe("RUNNING")
      expect(runtime.health).not.toBe("HEALTHY")
      expect(runtime.lastError).toBeTypeOf("string")
      expect(runtime.hint).toBeTypeOf("string")
    }
  })

  it("breakage 27: notifications/initialized that hangs holds up nobody", async () => {
    const upstream = await serveRaw((_request, response, body) => {
      const { id, method } = JSON.parse(body || "{}") as { id?: number; method?: string }
      if (id === undefined) return // never answered
      json(response, { jsonrpc: "2.0", id, result: method === "initialize" ? initialize : tools })
    })
    disposables.push(upstream)
    const service = await daemon.client.applyManifest({
      manifest: { ...manifest("hanging", remote(upstream.url), { era: "legacy" }) },
    })
    await expect
      .poll(() => upstream.seen.some(({ body }) => body.includes("notifications/initialized")), soon)
      .toBe(true)
    expect((await daemon.client.getService({ id: service.service.serviceId })).service.serviceId).toBeTypeOf("string")
    await daemon.client.removeService({ id: service.service.serviceId })
  })
})

describe("a child that misbehaves", () => {
  it("prints garbage among its answers: the answer arrives, the garbage goes to its log", async () => {
    const { serviceId: id } = await daemon.register(manifest("messy", stdioActor(stage(daemon.workspace, "messy"))))
    expect(textOf(await callTool(daemon.url, "messy__garbage"))).toBe("still here")
    expect(textOf(await callTool(daemon.url, "messy__complain", { text: "to stderr" }))).toBe("complained")
    await expect
      .poll(async () => (await daemon.client.getLogs({ id })).lines.join("\n"), soon)
      .toMatch(/to stderr[^]*this is no JSON|this is no JSON[^]*to stderr/)
  })

  it("that is no MCP server at all is given up with a reason", async () => {
    const origin = {
      type: "local_stdio",
      command: process.execPath,
      args: ["-e", "console.log('hello there')"],
    } as const
    const { runtime } = await daemon.register(
      manifest(
        "chatter",
        { ...origin, args: [...origin.args] },
        { restartPolicy: { mode: "never", maxRestarts: 1, windowSeconds: 60 } },
      ),
    )
    expect(runtime.lifecycle).not.toBe("RUNNING")
    expect(runtime.lastError).toContain("exited")
  })
})

describe("starting the daemon", () => {
  /** It must end by itself with that code, having said one readable paragraph. */
  async function refuses(workspace: string, code: number, words: RegExp, args: string[] = [], env = {}): Promise<void> {
    const program = launchDaemon({ workspace, args, env })
    expect(await program.exited).toBe(code)
    expect(program.stderr()).toMatch(words)
    expect(program.stderr().trim().split("\n")).toHaveLength(1)
    expect(program.stderr()).not.toMatch(stackLike)
  }

  it("breakage 6: on a port in use says so, and what to do", async () => {
    const taken = createServer().listen(0, "127.0.0.1")
    await new Promise((resolve) => taken.once("listening", resolve))
    const { port } = taken.address() as AddressInfo
    await refuses(temporaryDirectory(), 78, new RegExp(`port ${port} .*taken.*--port`), ["--port", String(port)])
    taken.close()
  })

  it("a second time in one workspace names the first, and leaves it alone", async () => {
    await refuses(daemon.workspace, 3, new RegExp(`${pid}`))
  })

  it("with a configuration that is wrong names the file or the flag", async () => {
    const workspace = temporaryDirectory()
    mkdirSync(join(workspace, ".clarity"))
    const file = join(workspace, ".clarity", "clarityd.json")
    writeFileSync(file, "{ not json")
    await refuses(workspace, 78, /clarityd\.json is not valid JSON/)
    writeFileSync(file, JSON.stringify({ prot: 1 }))
    await refuses(workspace, 78, /prot/)
    writeFileSync(file, JSON.stringify({ port: "x" }))
    await refuses(workspace, 78, /port/)
    writeFileSync(file, "{}")
    await refuses(workspace, 78, /--port must be a whole number/, ["--port", "no"])
    await refuses(workspace, 78, /CLARITY_REMOTE_DEFAULT_TIMEOUT_MS/, [], { CLARITY_REMOTE_DEFAULT_TIMEOUT_MS: "soon" })
    await refuses(workspace, 78, /CLARITY_BUDGET_MAX_TOTAL_COST_USD/, [], { CLARITY_BUDGET_MAX_TOTAL_COST_USD: "free" })
    await refuses(workspace, 78, /--bogus/, ["--bogus"])
    await refuses(workspace, 78, /cannot be read/, ["--config", "/no/such/file.json"])
  })

  it("with a truncated registry goes on with the last good version and says so", async () => {
    const workspace = temporaryDirectory()
    const file = join(workspace, ".clarity", "runtime", "registry.json")
    const first = await startDaemon({ workspace })
    for (const name of ["one", "two"])
      await first.client.applyManifest({ manifest: { ...manifest(name, wasm(`/${name}.wasm`)) } })
    await first.stop()
    writeFileSync(file, readFileSync(file, "utf8").slice(0, 300))
    const second = await startDaemon({ workspace })
    disposables.push(second)
    const status = await second.client.status({})
    expect(status.notices.join("\n")).toContain("registry.json")
    expect(status.services.map(({ module }) => module)).toContain("one")
    expect(existsSync(file)).toBe(true)
  })

  it("with nothing readable left of its registry refuses, and touches nothing", async () => {
    const workspace = temporaryDirectory()
    const state = join(workspace, ".clarity", "runtime")
    mkdirSync(state, { recursive: true })
    writeFileSync(join(state, "registry.json"), '{"version":1,"serv')
    const program = launchDaemon({ workspace })
    expect(await program.exited).not.toBe(0)
    expect(program.stderr()).toContain("registry.json")
    expect(program.stderr()).not.toMatch(stackLike)
    expect(readFileSync(join(state, "registry.json"), "utf8")).toBe('{"version":1,"serv')
  })

  it("with a wasm that cannot be read starts all the same, and says which", async () => {
    const path = join(daemon.workspace, "locked.wasm")
    writeFileSync(path, "")
    chmodSync(path, 0)
    const { runtime } = await daemon.register(manifest("locked", wasm(path)))
    expect(runtime).toMatchObject({ health: "DEGRADED" })
    expect(runtime.lifecycle).not.toBe("RUNNING")
    expect(runtime.lastError).toBeTypeOf("string")
  })
})

describe("breakage 34", () => {
  it("the headers of an event stream come at once, with ids to resume from", async () => {
    const stop = new AbortController()
    const response = await fetch(`${daemon.url}/api/events`, { signal: stop.signal })
    expect(response.headers.get("content-type")).toContain("text/event-stream")
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let text = ""
    while (!/^id: ?\d+/m.test(text)) text += Buffer.from((await reader.read()).value ?? []).toString()
    stop.abort()
    expect(text).toMatch(/^data: /m)
  })
})

describe("every list", () => {
  it("answers before services are up and is the same twice", async () => {
    expect(await namesOf(daemon.url)).toEqual(await namesOf(daemon.url))
    expect((await ask(daemon.url, "legacy", "ping"))["result"]).toEqual({})
  })
})
