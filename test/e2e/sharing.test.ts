import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, remote, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import {
  ask,
  callTool,
  failureOf,
  legacyClient,
  messagesOf,
  modernClient,
  namesOf,
  send,
  textOf,
} from "./support/mcp.ts"
import { serveActor, serveRaw, stage, stdioActor } from "./support/stage.ts"

let daemon: Daemon
const disposables: AsyncDisposable[] = []
beforeAll(async () => {
  daemon = await startDaemon()
})
afterAll(async () => {
  for (const thing of disposables) await thing[Symbol.asyncDispose]()
  await daemon[Symbol.asyncDispose]()
})

const soon = { timeout: 20_000 }
const pidFrom = async (client: { callTool(p: { name: string }): Promise<unknown> }, name: string) =>
  textOf((await client.callTool({ name })) as Record<string, unknown>)

describe("starting", () => {
  it("waits for the first call where it is lazy, and lists what is known before", async () => {
    const workspace = temporaryDirectory()
    const scene = stage(workspace, "lazy")
    scene.setTools("known_before")
    const first = await startDaemon({ workspace })
    const { serviceId: id } = await first.register(manifest("lazy", stdioActor(scene), { start: "lazy" }))
    expect(textOf(await callTool(first.url, "lazy__echo", { text: "up" }))).toBe("up")
    await first.stop()
    const births = scene.events().length
    const second = await startDaemon({ workspace })
    disposables.push(second)
    expect(await namesOf(second.url)).toContain("lazy__known_before")
    expect(scene.events()).toHaveLength(births)
    expect(await second.state(id)).toContain("REGISTERED")
    expect(textOf(await callTool(second.url, "lazy__echo", { text: "up" }))).toBe("up")
    expect(scene.events()).toHaveLength(births + 1)
    expect(await second.state(id)).toBe("RUNNING HEALTHY")
  })
})

describe("isolation", () => {
  it("shared: everybody talks to one process", async () => {
    await daemon.register(manifest("shared", stdioActor(stage(daemon.workspace, "shared"))))
    const clients = [await legacyClient(daemon.url), await legacyClient(daemon.url)]
    const pids = await Promise.all(clients.map((client) => pidFrom(client, "shared__pid")))
    expect(new Set(pids).size).toBe(1)
    for (const client of clients) await client.close()
  })

  it("principal: two sessions of one principal share a process, which is not the service's own", async () => {
    const scene = stage(daemon.workspace, "principal")
    const { serviceId: id } = await daemon.register(
      manifest("principal", stdioActor(scene), { isolation: "principal" }),
    )
    const clients = [await legacyClient(daemon.url), await legacyClient(daemon.url)]
    const pids = await Promise.all(clients.map((client) => pidFrom(client, "principal__pid")))
    expect(new Set(pids).size).toBe(1)
    expect(pids[0]).not.toBe(String((await daemon.client.getService({ id })).service.runtime.pid))
    for (const client of clients) await client.close()
  })

  it("session: each client session has its own process, which lasts over its calls", async () => {
    const scene = stage(daemon.workspace, "session")
    await daemon.register(manifest("session", stdioActor(scene), { isolation: "session" }))
    const clients = [await legacyClient(daemon.url), await legacyClient(daemon.url)]
    const pids = await Promise.all(clients.map((client) => pidFrom(client, "session__pid")))
    expect(new Set(pids).size).toBe(2)
    expect(await pidFrom(clients[0] as (typeof clients)[0], "session__pid")).toBe(pids[0])
    for (const client of clients) await client.close()
  })

  it("session, remote: each client session has its own upstream session", async () => {
    const upstream = await serveActor(stage(daemon.workspace, "sessions"))
    disposables.push(upstream)
    await daemon.register(manifest("sessions", remote(upstream.url), { isolation: "session" }))
    const clients = [await legacyClient(daemon.url), await legacyClient(daemon.url)]
    const sessions = await Promise.all(clients.map((client) => pidFrom(client, "sessions__session")))
    expect(new Set(sessions).size).toBe(2)
    expect(await pidFrom(clients[1] as (typeof clients)[0], "sessions__session")).toBe(sessions[1])
    for (const client of clients) await client.close()
  })
})

describe.each(["stdio", "remote"])("the limits of a %s service", (kind) => {
  async function register(name: string, limits: object) {
    const scene = stage(daemon.workspace, `${kind}-${name}`)
    if (kind === "stdio") await daemon.register(manifest(`${kind}_${name}`, stdioActor(scene), { limits }))
    else {
      const upstream = await serveActor(scene)
      disposables.push(upstream)
      await daemon.register(manifest(`${kind}_${name}`, remote(upstream.url, limits)))
    }
    return { scene, namespace: `${kind}_${name}` }
  }

  it("allowedTools: other tools are neither listed nor callable, and answer like unknown ones", async () => {
    const { namespace } = await register("allow", { allowedTools: ["echo", "pid"] })
    expect(await namesOf(daemon.url, "tools", { path: `/${namespace}` })).toEqual(["echo", "pid"])
    const hidden = await ask(daemon.url, "modern", "tools/call", { name: `${namespace}__big` })
    const unknown = await ask(daemon.url, "modern", "tools/call", { name: `${namespace}__bug` })
    expect(hidden["error"].message.replace("big", "bug")).toBe(unknown["error"].message)
    expect(hidden["error"].code).toBe(-32602)
  })

  it("maxPayloadBytes: refuses what is too large, either way", async () => {
    const { namespace } = await register("payload", { maxPayloadBytes: 4096 })
    const text = "x".repeat(5000)
    const asked = await callTool(daemon.url, `${namespace}__echo`, { text })
    expect(failureOf(asked)).toMatchObject({ code: "payload_too_large", service: namespace })
    const answered = await callTool(daemon.url, `${namespace}__big`, { bytes: 5000 })
    expect(failureOf(answered)).toMatchObject({ code: "result_too_large", service: namespace })
    expect(textOf(await callTool(daemon.url, `${namespace}__big`, { bytes: 100 }))).toHaveLength(100)
  })

  it("maxConcurrency: never more upstream than allowed; the rest waits its turn", async () => {
    const { scene, namespace } = await register("width", { maxConcurrency: 2 })
    const keys = ["a", "b", "c", "d", "e"]
    const calls = keys.map((key) => callTool(daemon.url, `${namespace}__hold`, { key }))
    const started = () => scene.events().filter((event) => event.startsWith("start"))
    await expect.poll(started, soon).toHaveLength(2)
    scene.release(...keys)
    for (const result of await Promise.all(calls)) expect(textOf(result)).toContain("released")
    let inFlight = 0
    const widths = scene
      .events()
      .map((event) => (inFlight += event.startsWith("start") ? 1 : event.startsWith("end") ? -1 : 0))
    expect(Math.max(...widths)).toBe(2)
    expect(started()).toHaveLength(5)
  })

  it("timeoutMs: ends a silent call and tells the upstream; a call that shows signs of life goes on", async () => {
    const { scene, namespace } = await register("time", { timeoutMs: 900 })
    const result = await callTool(daemon.url, `${namespace}__hold`, { key: "long" })
    expect(failureOf(result)).toMatchObject({ code: "upstream_timeout", retryable: true, service: namespace })
    await expect.poll(() => scene.events(), soon).toContain("cancelled long")
    const response = await send(
      daemon.url,
      "modern",
      "tools/call",
      { name: `${namespace}__ticks`, arguments: { times: 6, ms: 250 } },
      { meta: { progressToken: "p" } },
    )
    const parts = await messagesOf(response)
    expect(parts.map((part) => part["method"] ?? "result")).toEqual([
      ...Array<string>(6).fill("notifications/progress"),
      "result",
    ])
    expect(textOf(parts.at(-1)?.["result"])).toBe("ticked")
  })
})

describe("names", () => {
  it("breakage 17: of twins stay apart; each is listed and reached, and reserved names are not given away", async () => {
    const twins = ["Same-Name", "same_name", "runtime", "clarity"]
    const scenes = twins.map((name, index) => stage(daemon.workspace, `twin-${index}-${name}`))
    const services = []
    for (const [index, name] of twins.entries())
      services.push(await daemon.register(manifest(name, stdioActor(scenes[index] as (typeof scenes)[0], name))))
    const namespaces = services.map(({ namespace }) => namespace)
    expect(namespaces[0]).toBe("same_name")
    expect(namespaces[1]).toMatch(/^same_name_[0-9a-f]{6}$/)
    expect(namespaces[2]).toMatch(/^runtime_[0-9a-f]{6}$/)
    const pids = await Promise.all(
      namespaces.map(async (namespace) => textOf(await callTool(daemon.url, `${namespace}__pid`))),
    )
    expect(new Set(pids).size).toBe(4)
    expect(services.map(({ runtime }) => String(runtime.pid))).toEqual(pids)
    const names = await namesOf(daemon.url)
    expect(new Set(names).size).toBe(names.length)
    expect(names.toSorted()).toEqual((await namesOf(daemon.url)).toSorted())
  })

  it("of resources never collide, and prompts carry their service's name", async () => {
    for (const name of ["left", "right"])
      await daemon.register(manifest(name, stdioActor(stage(daemon.workspace, name), name)))
    const uris = (await namesOf(daemon.url, "resources")).filter((uri) => /^(left|right)\+/.test(uri))
    expect(uris.toSorted()).toEqual(["left+note://shared", "right+note://shared"])
    for (const uri of uris) {
      const { result } = await ask(daemon.url, "modern", "resources/read", { uri })
      expect(result.contents).toMatchObject([{ uri, text: `the note of ${uri.split("+")[0]}` }])
    }
    expect(await namesOf(daemon.url, "resources", { path: "/left" })).toEqual(["note://shared"])
    const { result } = await ask(daemon.url, "legacy", "prompts/get", { name: "right__greet" })
    expect(result.messages[0].content.text).toBe("greet as right")
  })

  it("go without a prefix where the service asks for it, until two services use the same name", async () => {
    const scenes = ["bare", "bare-too"].map((name) => stage(daemon.workspace, name))
    const [first, second] = scenes as [(typeof scenes)[0], (typeof scenes)[0]]
    first.setTools("alone", "both")
    second.setTools("both")
    await daemon.register(manifest("bare", stdioActor(first), { prefix: "on-collision" }))
    expect(await namesOf(daemon.url)).toEqual(expect.arrayContaining(["alone", "both"]))
    expect(textOf(await callTool(daemon.url, "alone"))).toBe("extra alone")
    await daemon.register(manifest("bare_too", stdioActor(second), { prefix: "on-collision" }))
    const names = await namesOf(daemon.url)
    expect(names).toEqual(expect.arrayContaining(["alone", "bare__both", "bare_too__both"]))
    expect(names).not.toContain("both")
    expect(textOf(await callTool(daemon.url, "bare_too__both"))).toBe("extra both")
  })

  it("are at most 64 characters, and long ones still reach their tool", async () => {
    const scene = stage(daemon.workspace, "long")
    const tool = "a_tool_with_a_name_that_goes_on_and_on_for_its_own_good_reasons_x"
    scene.setTools(tool, `${tool}y`)
    await daemon.register(manifest("long_winded_service", stdioActor(scene)))
    const names = (await namesOf(daemon.url)).filter((name) => name.startsWith("long_winded_service__a_tool"))
    expect(names).toHaveLength(2)
    expect(Math.max(...names.map((name) => name.length))).toBeLessThanOrEqual(64)
    const said = await Promise.all(names.map(async (name) => textOf(await callTool(daemon.url, name))))
    expect(said.toSorted()).toEqual([`extra ${tool}`, `extra ${tool}y`].toSorted())
  })
})

describe("a change of an upstream's tools", () => {
  it("reaches a client of each era without anybody asking", async () => {
    const scene = stage(daemon.workspace, "changing")
    const { serviceId: id } = await daemon.register(manifest("changing", stdioActor(scene)))
    const before = await daemon.client.getInterface({ id })
    const old = await legacyClient(daemon.url)
    const heard: string[] = []
    const { ToolListChangedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js")
    old.setNotificationHandler(ToolListChangedNotificationSchema, () => void heard.push("legacy"))
    const young = await modernClient(daemon.url)
    young.setNotificationHandler("notifications/tools/list_changed", () => void heard.push("modern"))
    const subscription = await young.listen({ toolsListChanged: true })
    await old.listTools()

    scene.setTools("grown")
    await callTool(daemon.url, "changing__announce")
    await expect.poll(() => heard.toSorted(), soon).toEqual(["legacy", "modern"])
    expect((await old.listTools()).tools.map(({ name }) => name)).toContain("changing__grown")
    expect((await young.listTools()).tools.map(({ name }) => name)).toContain("changing__grown")
    expect((await daemon.client.getInterface({ id })).interfaceRevision).not.toBe(before.interfaceRevision)
    await subscription.close()
    await old.close()
    await young.close()
  })

  it("is told for a service that came and one that went as well", async () => {
    const old = await legacyClient(daemon.url)
    let changes = 0
    const { ToolListChangedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js")
    old.setNotificationHandler(ToolListChangedNotificationSchema, () => void changes++)
    const { serviceId: id } = await daemon.register(manifest("visitor", stdioActor(stage(daemon.workspace, "visitor"))))
    await expect.poll(() => changes, soon).toBeGreaterThan(0)
    const seen = changes
    await daemon.client.removeService({ id })
    await expect.poll(() => changes, soon).toBeGreaterThan(seen)
    await old.close()
  })
})

describe("upstream paging", () => {
  it("breakage 14: is followed to its end", async () => {
    const upstream = await serveRaw((_request, response, body) => {
      const message = JSON.parse(body || "{}") as { id?: number; method?: string; params?: { cursor?: string } }
      if (message.id === undefined) return void response.writeHead(202).end()
      const page = Number(message.params?.cursor ?? 0)
      const tools = [{ name: `page_${page}`, inputSchema: { type: "object" } }]
      const results: Record<string, object> = {
        initialize: {
          protocolVersion: "2025-11-25",
          capabilities: { tools: {} },
          serverInfo: { name: "p", version: "1" },
        },
        "tools/list": { tools, ...(page < 4 ? { nextCursor: String(page + 1) } : {}) },
      }
      const result = results[message.method ?? ""]
      const reply = result ? { result } : { error: { code: -32601, message: "no" } }
      response.writeHead(200, { "content-type": "application/json" })
      response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...reply }))
    })
    disposables.push(upstream)
    await daemon.register(manifest("paged", remote(upstream.url)))
    expect(await namesOf(daemon.url, "tools", { path: "/paged" })).toEqual(
      [0, 1, 2, 3, 4].map((page) => `page_${page}`),
    )
  })
})
