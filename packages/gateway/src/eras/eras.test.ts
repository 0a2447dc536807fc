import { createBroadcast, type BackendSource, type Change, type SourceSnapshot } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, it } from "vitest"
import { fake, messages, modern, served, type FakeService, type Served } from "../../test-support/served.ts"
import { fixedSource } from "../sources/fixed-source.ts"

const open: Served[] = []
afterEach(async () => {
  for (const at of open.splice(0)) await at[Symbol.asyncDispose]()
})

async function start(services: readonly FakeService[], options = {}): Promise<Served> {
  const at = await served(services, options)
  open.push(at)
  return at
}

/** A source whose snapshot a test can replace. */
function changing(...services: readonly FakeService[]): {
  source: BackendSource
  publish(...next: readonly FakeService[]): void
} {
  const changes = createBroadcast<SourceSnapshot>()
  let inner = fixedSource(services.map(fake))
  let snapshot = inner.snapshot()
  return {
    source: {
      snapshot: () => snapshot,
      changes: (signal) => changes.subscribe(signal),
      acquire: (id, context) => inner.acquire(id, context),
    },
    publish(...next) {
      inner = fixedSource(next.map(fake))
      snapshot = { generation: snapshot.generation + 1, services: inner.snapshot().services }
      changes.publish(snapshot)
    },
  }
}

/** Reads the events of a stream one by one. */
function events(response: Response): AsyncGenerator<Record<string, any> & { eventId?: string }> {
  return (async function* () {
    let text = ""
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true })
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n")
        text = text.slice(end + 2)
        const data = lines.find((line) => line.startsWith("data: "))?.slice(6)
        const eventId = lines.find((line) => line.startsWith("id: "))?.slice(4)
        if (data !== undefined) yield { ...(JSON.parse(data) as object), ...(eventId === undefined ? {} : { eventId }) }
      }
    }
  })()
}

async function handshake(at: Served, capabilities = {}, version = "2025-11-25"): Promise<Record<string, string>> {
  const params = { protocolVersion: version, capabilities, clientInfo: { name: "t", version: "1" } }
  const response = await at.post({ jsonrpc: "2.0", id: 0, method: "initialize", params })
  const { result } = (await response.json()) as { result: { protocolVersion: string } }
  return {
    "mcp-session-id": response.headers.get("mcp-session-id") ?? "",
    "mcp-protocol-version": result.protocolVersion,
  }
}

const one = (name: string): FakeService => ({ namespace: "s", tools: { [name]: () => "x" } })

describe("legacy sessions", () => {
  it.each([
    ["2024-11-05", "2024-11-05"],
    ["2025-03-26", "2025-03-26"],
    ["2025-06-18", "2025-06-18"],
    ["2025-11-25", "2025-11-25"],
    ["2026-07-28", "2025-11-25"],
    ["1999-01-01", "2025-11-25"],
  ])("negotiate %s to %s", async (asked, agreed) => {
    expect((await handshake(await start([one("a")]), {}, asked))["mcp-protocol-version"]).toBe(agreed)
  })

  it("remember no more of a client than they need", async () => {
    const at = await start([one("a")])
    const hello = async (clientInfo: object, capabilities = {}) => {
      const params = { protocolVersion: "2025-11-25", capabilities, clientInfo }
      const response = await at.post({ jsonrpc: "2.0", id: 0, method: "initialize", params })
      return { session: response.headers.get("mcp-session-id"), ...((await response.json()) as { error?: object }) }
    }
    const known = { name: "t", version: "1" }
    const long = "x".repeat(16_384)
    expect((await hello({ ...known, icons: [{ src: `data:image/png;base64,${long}` }] })).session).toBeTypeOf("string")
    for (const refused of [
      await hello({ ...known, title: long }),
      await hello(known, { experimental: { long: { long } } }),
    ]) {
      expect(refused.session).toBeNull()
      expect(refused.error).toMatchObject({ code: -32602, message: expect.stringContaining("16384 bytes") })
    }
  })

  it("end when they are deleted, and belong to their principal and endpoint", async () => {
    let user = "a"
    const at = await start([one("a")], {
      authenticators: [{ authenticate: () => ({ id: user, kind: "token", scopes: ["admin"] }) }],
    })
    const session = await handshake(at)
    const ping = { jsonrpc: "2.0", id: 1, method: "ping" }
    expect((await at.post(ping, session)).status).toBe(200)
    expect((await at.post(ping, session, "/s")).status).toBe(404)
    user = "b"
    expect((await at.post(ping, session)).status).toBe(404)
    user = "a"
    expect((await fetch(at.url, { method: "DELETE", headers: session })).status).toBe(204)
    expect((await at.post(ping, session)).status).toBe(404)
  })

  it("hear of list changes on their standing stream, also of those from before it was open", async () => {
    const { source, publish } = changing(one("a"))
    const at = await start([], { source })
    const session = await handshake(at)
    publish(one("b"))
    const stream = events(await fetch(at.url, { headers: { ...session, accept: "text/event-stream" } }))
    expect((await stream.next()).value).toMatchObject({ method: "notifications/tools/list_changed" })
    publish({ ...one("b"), face: { tools: [], prompts: [{ name: "p" }] } })
    const next = [(await stream.next()).value, (await stream.next()).value].map((message) => message["method"])
    expect(next.toSorted()).toEqual(["notifications/prompts/list_changed", "notifications/tools/list_changed"])
    await stream.return(undefined)
  })

  it("are not told twice what a stream before has taken", async () => {
    const { source, publish } = changing(one("a"))
    const at = await start([], { source })
    const session = await handshake(at)
    const open = async () => events(await fetch(at.url, { headers: { ...session, accept: "text/event-stream" } }))
    const first = await open()
    publish(one("b"))
    await first.next()
    await first.return(undefined)
    const second = await open()
    publish({
      ...one("b"),
      face: { tools: one("b").tools ? [{ name: "b", inputSchema: {} }] : [], prompts: [{ name: "p" }] },
    })
    const methods = new Set<string>()
    while (!methods.has("notifications/prompts/list_changed")) methods.add((await second.next()).value["method"])
    expect([...methods].filter((method) => method.includes("tools")).length).toBeLessThanOrEqual(1)
    await second.return(undefined)
  })

  it("read on where a stream broke", async () => {
    const gate = Promise.withResolvers<void>()
    const at = await start([
      {
        namespace: "s",
        tools: {
          slow: async function* () {
            yield { method: "notifications/progress", params: { progressToken: 1, progress: 1 } }
            await gate.promise
            yield { method: "notifications/progress", params: { progressToken: 1, progress: 2 } }
            return { content: [{ type: "text", text: "done" }] }
          },
        },
      },
    ])
    const session = await handshake(at)
    const response = await at.post(
      { jsonrpc: "2.0", id: 5, method: "tools/call", params: { name: "s__slow" } },
      session,
    )
    const stream = events(response)
    const first = (await stream.next()).value
    await stream.return(undefined) // the connection breaks; the call goes on
    gate.resolve()
    const rest = events(
      await fetch(at.url, {
        headers: { ...session, accept: "text/event-stream", "last-event-id": first.eventId as string },
      }),
    )
    expect((await rest.next()).value).toMatchObject({ params: { progress: 2 } })
    expect((await rest.next()).value).toMatchObject({ id: 5, result: { content: [{ text: "done" }] } })
    const foreign = await fetch(at.url, {
      headers: { ...session, accept: "text/event-stream", "last-event-id": "stream_x/1" },
    })
    expect(foreign.status).toBe(400)
  })

  it("read on also where more was missed than one client may be behind", async () => {
    const more = Promise.withResolvers<void>()
    const message = "x".repeat(300_000)
    const at = await start([
      {
        namespace: "a",
        tools: {
          long: async function* () {
            yield { method: "notifications/progress", params: { progressToken: 1, progress: 0 } }
            await more.promise
            for (let progress = 1; progress <= 8; progress++)
              yield { method: "notifications/progress", params: { progressToken: 1, progress, message } }
            return { content: [{ type: "text", text: "done" }] }
          },
        },
      },
    ])
    const session = await handshake(at)
    const gone = new AbortController()
    const params = { name: "a__long", arguments: {}, _meta: { progressToken: 1 } }
    const broken = await fetch(at.url, {
      method: "POST",
      signal: gone.signal,
      headers: { ...session, "content-type": "application/json", accept: "application/json, text/event-stream" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 5, method: "tools/call", params }),
    })
    const first = (await events(broken).next()).value
    gone.abort()
    more.resolve()
    await expect.poll(() => at.policy.settled).toHaveLength(1)
    const rest = await fetch(at.url, {
      headers: { ...session, accept: "text/event-stream", "last-event-id": first?.eventId as string },
    })
    const missed = await messages(rest)
    expect(missed).toHaveLength(9)
    expect(missed.at(-1)).toMatchObject({ id: 5, result: { content: [{ text: "done" }] } })
  })

  it("get non-object outputs under `result`, schema and value alike", async () => {
    const tool = {
      name: "n",
      inputSchema: { type: "object" },
      outputSchema: { type: "array", items: { $ref: "#/$defs/i" }, $defs: { i: { type: "integer" } } },
    }
    const at = await start([
      { namespace: "s", face: { tools: [tool] }, tools: { n: () => ({ content: [], structuredContent: [1, 2] }) } },
    ])
    const [list] = await messages(await at.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }))
    expect(list?.["result"].tools[0].outputSchema).toEqual({
      type: "object",
      properties: { result: { type: "array", items: { $ref: "#/$defs/i" } } },
      required: ["result"],
      $defs: { i: { type: "integer" } },
    })
    const [call] = await messages(
      await at.post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "s__n" } }),
    )
    expect(call?.["result"].structuredContent).toEqual({ result: [1, 2] })
    const [asIs] = await messages(await modern(at, "tools/call", { name: "s__n" }))
    expect(asIs?.["result"].structuredContent).toEqual([1, 2])
  })
})

describe("subscriptions", () => {
  function watched(): { service: FakeService; change(uri: string): void; ended: Promise<void> } {
    const updates = createBroadcast<Change>(16)
    const ended = Promise.withResolvers<void>()
    return {
      change: (uri) => updates.publish({ kind: "resource", uri, params: { uri } }),
      ended: ended.promise,
      service: {
        namespace: "s",
        face: { resources: [{ uri: "x://1", name: "one" }], capabilities: { resources: { subscribe: true } } },
        async *watch(interest, signal) {
          try {
            const stream = updates.subscribe(signal)
            yield { kind: "watching", resources: interest.resources ?? [] }
            yield* stream
          } finally {
            ended.resolve()
          }
        },
      },
    }
  }

  const listen = (at: Served, notifications: object) => modern(at, "subscriptions/listen", { notifications })

  it("acknowledge first, tag every message, and tell of resources under their public URIs", async () => {
    const { service, change } = watched()
    const at = await start([service])
    const response = await listen(at, {
      toolsListChanged: true,
      resourceSubscriptions: ["s+x://1", "s+x://2", "other+x://1"],
    })
    const stream = events(response)
    const tag = { "io.modelcontextprotocol/subscriptionId": 1 }
    expect((await stream.next()).value).toEqual({
      jsonrpc: "2.0",
      method: "notifications/subscriptions/acknowledged",
      params: {
        notifications: { toolsListChanged: true, resourceSubscriptions: ["s+x://1", "s+x://2"] },
        _meta: tag,
      },
    })
    change("x://1")
    expect((await stream.next()).value).toMatchObject({
      method: "notifications/resources/updated",
      params: { uri: "s+x://1", _meta: tag },
    })
    at.gateway.drain()
    expect((await stream.next()).value).toMatchObject({ id: 1, result: { resultType: "complete", _meta: tag } })
  })

  it("end upstream when the client hangs up", async () => {
    const { service, ended } = watched()
    const at = await start([service])
    const stream = events(await listen(at, { resourceSubscriptions: ["s+x://1"] }))
    await stream.next()
    await stream.return(undefined)
    await ended
  })

  it("tell an endpoint only of its own service", async () => {
    const { source, publish } = changing(one("a"), { namespace: "t", tools: { x: () => "x" } })
    const at = await start([], { source })
    const stream = events(
      await modern(at, "subscriptions/listen", { notifications: { toolsListChanged: true } }, { path: "/t" }),
    )
    await stream.next()
    publish(one("b"), { namespace: "t", tools: { x: () => "x" } })
    publish(one("b"), { namespace: "t", tools: { y: () => "x" } })
    expect((await stream.next()).value).toMatchObject({ method: "notifications/tools/list_changed" })
    await stream.return(undefined)
  })

  it("of a legacy session arrive on its standing stream until they are ended", async () => {
    const { service, change, ended } = watched()
    const at = await start([service])
    const session = await handshake(at)
    const say = (method: string, uri: string) =>
      at.post({ jsonrpc: "2.0", id: 3, method, params: { uri } }, session).then((response) => response.json())
    expect(await say("resources/subscribe", "s+x://1")).toMatchObject({ result: {} })
    expect(await say("resources/subscribe", "t+x://1")).toMatchObject({ error: { code: -32602 } })
    change("x://1")
    const stream = events(await fetch(at.url, { headers: { ...session, accept: "text/event-stream" } }))
    expect((await stream.next()).value).toMatchObject({
      method: "notifications/resources/updated",
      params: { uri: "s+x://1" },
    })
    await say("resources/unsubscribe", "s+x://1")
    await ended
    await stream.return(undefined)
  })

  it("that have not begun when their session ends are answered all the same", async () => {
    const asked = Promise.withResolvers<void>()
    const at = await start([
      {
        namespace: "a",
        face: { resources: [{ uri: "x://1", name: "x" }], capabilities: { resources: { subscribe: true } } },
        // oxlint-disable-next-line require-yield -- its upstream never says that it watches
        async *watch(_interest, signal) {
          asked.resolve()
          await new Promise((resolve) => signal.addEventListener("abort", resolve))
        },
      },
    ])
    const session = await handshake(at)
    const params = { uri: "a+x://1" }
    const subscribed = at.post({ jsonrpc: "2.0", id: 1, method: "resources/subscribe", params }, session)
    await asked.promise
    expect((await fetch(at.url, { method: "DELETE", headers: session })).status).toBe(204)
    expect(await messages(await subscribed)).toMatchObject([{ id: 1, error: { data: { code: "cancelled" } } }])
  })

  it("are bounded for each principal", async () => {
    const at = await start([one("a")])
    const streams = await Promise.all(Array.from({ length: 16 }, () => listen(at, { toolsListChanged: true })))
    expect((await listen(at, {})).status).toBe(429)
    await streams[0]?.body?.cancel()
    await expect.poll(async () => (await listen(at, {})).status).toBe(200)
  })

  it.each([
    {},
    { notifications: 5 },
    { notifications: { resourceSubscriptions: "x" } },
    { notifications: { resourceSubscriptions: [5] } },
  ])("refuse %j", async (params) => {
    const at = await start([one("a")])
    expect((await modern(at, "subscriptions/listen", params)).status).toBe(400)
  })
})

describe("headers that repeat arguments", () => {
  const tool = {
    name: "t",
    inputSchema: {
      type: "object",
      properties: {
        region: { type: "string", "x-mcp-header": "Region" },
        inner: { type: "object", properties: { n: { type: "integer", "x-mcp-header": "N" } } },
      },
    },
  }
  it.each([
    [{ region: "eu" }, { "mcp-param-region": "eu" }, 200],
    [{ region: "grün" }, { "mcp-param-region": `=?base64?${Buffer.from("grün").toString("base64")}?=` }, 200],
    // Half a pair of markers encodes nothing.
    [{ region: "=?base64?SGVsbG8=" }, { "mcp-param-region": "=?base64?SGVsbG8=" }, 200],
    [{ inner: { n: 5 } }, { "mcp-param-n": "5" }, 200],
    [{ inner: { n: 5 } }, { "mcp-param-n": "6" }, 400],
    [{ region: "eu" }, {}, 400],
    [{ region: "eu" }, { "mcp-param-region": "us" }, 400],
    [{}, { "mcp-param-region": "us" }, 400],
    [{ region: null }, {}, 200],
  ])("%j with %j is %i", async (args, headers, status) => {
    const at = await start([{ namespace: "s", face: { tools: [tool] }, tools: { t: () => "x" } }])
    const response = await modern(
      at,
      "tools/call",
      { name: "s__t", arguments: args },
      { headers: headers as Record<string, string> },
    )
    expect(response.status).toBe(status)
    if (status === 400) expect(await response.json()).toMatchObject({ error: { code: -32020 } })
  })
})
