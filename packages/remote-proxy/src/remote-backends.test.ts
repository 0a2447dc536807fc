import {
  systemClock,
  type Backend,
  type BackendServices,
  type CallContext,
  type Clock,
} from "@clarity-runtime/contracts"
import {
  backendServices,
  callContext,
  collect,
  fakeCredentials,
  legacyClient,
  modernClient,
  remoteManifest,
  serviceDefinition,
  textOf,
  toolCall,
} from "@clarity-runtime/testkit"
import { afterEach, describe, expect, test } from "vitest"
import { remoteBackends, type RemoteOptions } from "./index.ts"
import { event, json, result, serve, stream, type TestServer } from "./testing/faults.ts"
import { sdkSse, sdkV1, sdkV2, type SdkServer } from "./testing/sdk-servers.ts"

const closers: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of closers.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

async function lent<T extends AsyncDisposable>(promise: T | Promise<T>): Promise<T> {
  const one = await promise
  closers.push(one)
  return one
}

type OriginChanges = { readonly transport?: "streamable_http" | "sse_http"; readonly authRef?: string }

function definition(url: URL, origin: OriginChanges = {}) {
  const manifest = remoteManifest({ name: "up", origin: { endpoint: url.href, ...origin } })
  return serviceDefinition(manifest) as Parameters<ReturnType<typeof remoteBackends>["open"]>[0]
}

interface Opening {
  readonly origin?: OriginChanges
  readonly options?: RemoteOptions
  readonly services?: Partial<BackendServices>
}

async function open(url: URL, { origin, options, services }: Opening = {}): Promise<Backend> {
  const factory = await lent(remoteBackends(options))
  const given = backendServices({ clock: systemClock, ...services })
  return lent(factory.open(definition(url, origin), given, new AbortController().signal))
}

const legacy = (changes: Partial<CallContext> = {}) => callContext({ client: legacyClient, ...changes })
const modern = (changes: Partial<CallContext> = {}) => callContext({ client: modernClient, ...changes })

const servers: [string, () => Promise<SdkServer>, OriginChanges][] = [
  ["v1 with sessions", () => sdkV1({ sessions: true }), {}],
  ["v1 with sessions, JSON", () => sdkV1({ sessions: true, json: true }), {}],
  ["v1 stateless", () => sdkV1({ sessions: false }), {}],
  ["v1 stateless, JSON", () => sdkV1({ sessions: false, json: true }), {}],
  ["v1 HTTP+SSE", sdkSse, { transport: "sse_http" }],
  ["v1 HTTP+SSE, registered as streamable HTTP", sdkSse, {}],
  ["v2", () => sdkV2(), {}],
  ["v2, JSON", () => sdkV2("json"), {}],
  ["v2, event streams", () => sdkV2("sse"), {}],
]

describe.each(servers)("%s", (name, make, origin) => {
  test("is described, with every page of its tools and what we do not know of them", async () => {
    const server = await lent(make())
    const face = await (await open(server.url, { origin })).describe(new AbortController().signal)
    expect(face.tools.map((tool) => tool.name)).toEqual(["echo", "steps", "slow", "drop"])
    expect(face.tools[3]?.["inputSchema"]).toEqual({ type: "object", "x-kept": true })
  })

  test.each(["legacy", "modern"] as const)(
    "a %s client calls it, with progress where its wire has room",
    async (era) => {
      const server = await lent(make())
      const backend = await open(server.url, { origin })
      const context = era === "legacy" ? legacy : modern
      const { result: echoed } = await collect(backend.call(toolCall("echo", { text: "grüß", n: 1 }), context()))
      expect(JSON.parse(textOf(echoed))).toEqual({ text: "grüß", n: 1 })
      const steps = await collect(backend.call(toolCall("steps", {}, { progressToken: "mine" }), context()))
      expect(textOf(steps.result)).toBe("done")
      const progress = steps.notifications.map(({ params }) => [params?.["progressToken"], params?.["progress"]])
      if (!name.includes("JSON")) expect(progress).toEqual([1, 2, 3].map((step) => ["mine", step]))
    },
  )

  test("many calls at once each get their own answer", async () => {
    const server = await lent(make())
    const backend = await open(server.url, { origin })
    const answers = await Promise.all(
      Array.from({ length: 40 }, async (_, i) =>
        textOf((await collect(backend.call(toolCall("echo", { i }), i % 2 ? legacy() : modern()))).result),
      ),
    )
    expect(answers.map((text) => (JSON.parse(text) as { i: number }).i)).toEqual(
      Array.from({ length: 40 }, (_, i) => i),
    )
  })
})

describe("ending", () => {
  test.each([
    ["v1 with sessions", () => sdkV1({ sessions: true })],
    ["v1 HTTP+SSE", sdkSse],
    ["v2", () => sdkV2("sse")],
  ])("%s: a caller who goes away ends the work upstream", async (_name, make) => {
    const server = await lent<SdkServer>(make())
    const backend = await open(server.url)
    const abort = new AbortController()
    const reply = backend.call(toolCall("slow", {}, { progressToken: 1 }), legacy({ signal: abort.signal }))
    await reply.next()
    const over = reply.next().catch((thrown: unknown) => thrown)
    abort.abort()
    expect(await over).toMatchObject({ code: "cancelled" })
    await expect.poll(() => server.cancelled).toEqual(["slow"])
  })

  test("disposing ends the session at the server", async () => {
    const server = await lent(sdkV1({ sessions: true }))
    const backend = await open(server.url)
    await collect(backend.call(toolCall("echo"), legacy()))
    expect(server.sessions.size).toBeGreaterThan(0)
    await backend[Symbol.asyncDispose]()
    expect(server.sessions.size).toBe(0)
    expect(server.requests.at(-1)?.method).toBe("DELETE")
  })

  test("an upstream that forgot the session gets a new one, and the call once", async () => {
    const server = await lent(sdkV1({ sessions: true }))
    const backend = await open(server.url)
    await collect(backend.call(toolCall("echo"), legacy()))
    server.forget()
    expect(textOf((await collect(backend.call(toolCall("echo", { again: 1 }), legacy()))).result)).toBe('{"again":1}')
  })

  test("a reply whose stream the server closes early is fetched to its end", async () => {
    const server = await lent(sdkV1({ sessions: true, resumable: true }))
    const backend = await open(server.url)
    const { result: answer, notifications } = await collect(
      backend.call(toolCall("drop", {}, { progressToken: "p" }), legacy()),
    )
    expect(textOf(answer)).toBe("resumed")
    expect(notifications.map(({ params }) => params?.["progress"])).toEqual([1, 2])
    expect(server.requests.find(({ headers }) => headers["last-event-id"] !== undefined)?.method).toBe("GET")
  })
})

describe("headers", () => {
  test("legacy: session and version after the handshake; modern: the call's own; and nothing of the end client", async () => {
    const older = await lent(sdkV1({ sessions: true }))
    await collect((await open(older.url)).call(toolCall("echo"), legacy()))
    const last = older.requests.at(-1)
    expect(last?.headers["mcp-session-id"]).toBeTypeOf("string")
    expect(last?.headers["mcp-protocol-version"]).toBe("2025-11-25")
    const newer = await lent(sdkV2())
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }
    await collect((await open(newer.url)).call(toolCall("echo"), modern({ trace, session: "theirs" })))
    const call = newer.requests.at(-1)
    expect(call?.headers).toMatchObject({
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": "echo",
    })
    for (const { headers } of [...older.requests, ...newer.requests]) {
      expect(headers["accept"]).toBeDefined()
      for (const name of ["authorization", "cookie", "x-api-key", "proxy-authorization"])
        expect(headers[name]).toBeUndefined()
    }
  })

  test("the credential goes to its service, and to the origin it was asked for", async () => {
    const server = await lent(sdkV1({ sessions: true }))
    const credentials = fakeCredentials({ "env:KEY": "canary" })
    await open(server.url, { origin: { authRef: "env:KEY" }, services: { credentials } })
    expect(server.requests.every(({ headers }) => headers.authorization === "Bearer canary")).toBe(true)
    expect(new Set(credentials.asked.map(({ target }) => target.origin))).toEqual(new Set([server.url.origin]))
  })
})

describe("what does not work", () => {
  async function refusing(url: URL, opening: Opening = {}) {
    return open(url, opening).then(
      () => expect.fail("it opened"),
      (thrown: unknown) => thrown,
    )
  }

  test("a host that is not allowed is not called", async () => {
    const server = await lent(serve((_seen, response) => json(response, {})))
    for (const allowedHosts of [["other.example"], []])
      expect(await refusing(server.url, { options: { allowedHosts } })).toMatchObject({
        code: "policy_denied",
        message: "remote endpoint host '127.0.0.1' is not in CLARITY_REMOTE_ALLOWED_HOSTS",
      })
    expect(server.seen).toEqual([])
  })

  test.each([
    ["nothing there", 404, "upstream_invalid"],
    ["credentials refused", 401, "upstream_unauthorized"],
    ["forbidden", 403, "upstream_unauthorized"],
    ["overload", 503, "unavailable"],
    ["a fault", 500, "upstream_invalid"],
  ])("%s (HTTP %i) is told as %s", async (_name, status, code) => {
    const server = await lent(serve((_seen, response) => response.writeHead(status).end("<html>secret")))
    const thrown = await refusing(server.url)
    expect(thrown).toMatchObject({ code })
    expect(String(thrown)).toContain("up ")
    expect(String(thrown)).not.toContain("secret")
    expect(String(thrown)).not.toContain(server.url.host)
  })

  test("a web page instead of an MCP server is named", async () => {
    const server = await lent(
      serve((_seen, response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>hello")),
    )
    expect(await refusing(server.url)).toMatchObject({
      code: "upstream_invalid",
      message: expect.stringContaining("text/html"),
    })
  })

  test("a redirect to another origin is refused, and nothing arrives there", async () => {
    const sink = await lent(serve((_seen, response) => json(response, {})))
    const server = await lent(serve((_seen, response) => response.writeHead(307, { location: sink.url.href }).end()))
    const credentials = fakeCredentials({ "env:KEY": "canary" })
    const thrown = await refusing(server.url, { origin: { authRef: "env:KEY" }, services: { credentials } })
    expect(thrown).toMatchObject({ code: "upstream_invalid", data: { reason: "redirect_refused" } })
    expect(sink.seen).toEqual([])
  })
})

describe("faults under a call", () => {
  type Fault = (
    response: Parameters<typeof json>[0],
    id: unknown,
    request: { socket: { resetAndDestroy(): unknown } },
  ) => unknown

  /** A modern server that does one fault on `tools/call`, and is well otherwise. */
  async function faulty(fault: Fault): Promise<TestServer> {
    return lent(
      serve((seen, response, request) => {
        const id = seen.body?.["id"]
        if (seen.body?.["method"] === "server/discover")
          return json(
            response,
            result(id, { resultType: "complete", supportedVersions: ["2026-07-28"], capabilities: { tools: {} } }),
          )
        if (seen.body?.["method"] !== "tools/call")
          return json(response, result(id, { resultType: "complete", tools: [] }))
        const name = (seen.body["params"] as { name?: string }).name
        if (name === "well")
          return json(response, result(id, { resultType: "complete", content: [{ type: "text", text: "well" }] }))
        return fault(response, id, request)
      }),
    )
  }
  const ok = (id: unknown, text: string) => result(id, { resultType: "complete", content: [{ type: "text", text }] })
  const page = (response: Parameters<typeof json>[0], type: string, body: string) =>
    response.writeHead(200, { "content-type": type }).end(body)
  const mega = 1024 * 1024

  test.each<[string, string, Fault]>([
    ["HTML", "upstream_invalid", (response) => page(response, "text/html", "<html>")],
    ["nothing", "upstream_invalid", (response) => page(response, "application/json", "")],
    ["invalid JSON", "upstream_invalid", (response) => page(response, "application/json", '{"jsonrpc":')],
    ["JSON that is no message", "upstream_invalid", (response) => page(response, "application/json", "42")],
    ["an event that is no JSON", "upstream_invalid", (response) => stream(response).write("data: {oops\n\n")],
    ["an answer to somebody else", "outcome_unknown", (response) => json(response, ok(4711, "not yours"))],
    ["a stream without an answer", "outcome_unknown", (response) => stream(response).end(": bye\n\n")],
    [
      "an event without its blank line",
      "outcome_unknown",
      (response, id) => stream(response).end(event(ok(id, "x")).trimEnd()),
    ],
    ["RST", "outcome_unknown", (_response, _id, request) => request.socket.resetAndDestroy()],
    [
      "a result of 100 MB",
      "result_too_large",
      (response, id) => flood(response, `{"jsonrpc":"2.0","id":${String(id)},"result":{"x":"`),
    ],
    ["an endless event", "result_too_large", (response) => flood(stream(response), "data: ")],
    ["comments for ever", "result_too_large", (response) => flood(stream(response), ":", "\n:")],
    ["10 million events", "result_too_large", (response) => flood(stream(response), "", "data: {}\n\n")],
    ["HTTP 429", "rate_limited", (response) => response.writeHead(429, { "retry-after": "7" }).end()],
    ["HTTP 503", "unavailable", (response) => response.writeHead(503, { "retry-after": "1e9" }).end()],
    ["HTTP 401", "upstream_unauthorized", (response) => response.writeHead(401).end()],
    ["HTTP 504", "upstream_timeout", (response) => response.writeHead(504).end()],
    ["HTTP 418", "upstream_invalid", (response) => response.writeHead(418).end()],
  ])("%s: %s, and the next call is well", async (_name, code, fault) => {
    const server = await faulty(fault)
    const backend = await open(server.url)
    const limits = { idleMs: 20_000, totalMs: 60_000, maxResultBytes: mega }
    const thrown = await collect(backend.call(toolCall("ill"), modern({ limits }))).catch((error: unknown) => error)
    expect(thrown).toMatchObject({ code })
    expect(String(thrown)).not.toContain("127.0.0.1")
    expect(textOf((await collect(backend.call(toolCall("well"), modern({ limits })))).result)).toBe("well")
  })

  /** Writes for ever; stops when nobody reads. Remembers how much it got rid of. */
  let written = 0
  function flood(response: Parameters<typeof json>[0], head: string, piece = "x"): void {
    written = 0
    const block = Buffer.from(piece.repeat(Math.ceil(65_536 / piece.length)))
    if (!response.headersSent) response.writeHead(200, { "content-type": "application/json" })
    response.write(head)
    const more = () => {
      while (!response.destroyed && written < 200 * mega) {
        written += block.length
        if (!response.write(block)) return void response.once("drain", more)
      }
      response.end()
    }
    more()
    response.once("close", () => expect(written).toBeLessThan(50 * mega))
  }

  test("an answer twice: the first counts, the other reaches nobody", async () => {
    const server = await faulty((response, id) =>
      stream(response).end(event(ok(id, "first")) + event(ok(id, "second"))),
    )
    const backend = await open(server.url)
    expect(textOf((await collect(backend.call(toolCall("ill"), modern()))).result)).toBe("first")
    expect(textOf((await collect(backend.call(toolCall("well"), modern()))).result)).toBe("well")
  })

  test("silence is ended after idleMs, drips are not silence", async () => {
    const ticks: (() => void)[] = []
    const server = await faulty((response, id) => {
      const out = stream(response)
      ticks.push(() =>
        out.write(
          event({
            jsonrpc: "2.0",
            method: "notifications/progress",
            params: { progressToken: id, progress: ticks.length },
          }),
        ),
      )
      ticks[0]?.()
    })
    let now = 0
    const sleepers = new Set<() => void>()
    const clock: Clock = {
      now: () => now,
      monotonic: () => now,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          const due = now + ms
          const wake = () => {
            if (now < due && !signal?.aborted) return
            sleepers.delete(wake)
            resolve()
          }
          sleepers.add(wake)
          signal?.addEventListener("abort", wake, { once: true })
        }),
    }
    const backend = await open(server.url, { services: { clock } })
    const limits = { idleMs: 50, totalMs: 60_000, maxResultBytes: mega }
    const reply = backend.call(toolCall("ill", {}, { progressToken: "p" }), modern({ limits }))
    for (let drip = 0; drip < 4; drip++) {
      expect((await reply.next()).value).toMatchObject({ method: "notifications/progress" })
      now += 40
      for (const wake of sleepers) wake()
      if (drip < 3) ticks[0]?.()
    }
    const silence = reply.next().catch((error: unknown) => error)
    now += 51
    for (const wake of sleepers) wake()
    expect(await silence).toMatchObject({ code: "upstream_timeout" })
    await expect.poll(() => server.sockets.size).toBeLessThan(2)
  })
})
