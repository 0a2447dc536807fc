import { PassThrough } from "node:stream"
import { afterEach, describe, expect, it } from "vitest"
import { fakeDaemon, type Reply, type Seen } from "../../test/fake-daemon.ts"
import { runBridge } from "./bridge.ts"
import { createEndpoint } from "./endpoint.ts"

type Line = {
  id?: unknown
  method?: string
  result?: Record<string, unknown>
  error?: { code: number; message: string; data?: unknown }
  params?: Record<string, unknown>
}

const ended: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ended.splice(0)) await end()
})

/** A bridge in front of `url`, driven line by line. */
function bridged(url: string, patienceMs = 300) {
  const input = new PassThrough()
  const lines: string[] = []
  const warnings: string[] = []
  const stop = new AbortController()
  let wake: (() => void) | undefined
  const done = runBridge({
    endpoint: createEndpoint({ url, patienceMs, token: "t" }),
    input,
    write: async (line) => {
      lines.push(line)
      wake?.()
    },
    warn: (text) => void warnings.push(text),
    signal: stop.signal,
  })
  ended.push(async () => {
    stop.abort()
    input.end()
    await done
  })
  let read = 0
  return {
    warnings,
    lines,
    done,
    send: (...values: unknown[]) =>
      void input.write(
        values.map((value) => `${typeof value === "string" ? value : JSON.stringify(value)}\n`).join(""),
      ),
    raw: (bytes: string | Buffer) => void input.write(bytes),
    close: () => void input.end(),
    async next(): Promise<Line> {
      while (read >= lines.length) await new Promise<void>((resolve) => (wake = resolve))
      return JSON.parse(lines[read++] ?? "") as Line
    },
  }
}

async function daemon(answer: (seen: Seen, reply: Reply) => void, port?: number) {
  const server = await fakeDaemon(answer, port)
  ended.push(() => server.stop())
  return server
}

const initialize = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {} },
}
const initialized = { jsonrpc: "2.0", method: "notifications/initialized" }
const envelope = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
}
const legacyCall = (id: unknown, method = "tools/call", params: object = { name: "a__b" }) => ({
  jsonrpc: "2.0",
  id,
  method,
  params,
})
const modernCall = (id: unknown, method = "tools/call", params: object = { name: "a__b" }) =>
  legacyCall(id, method, { ...params, _meta: envelope })
const result = (id: unknown, value: object = {}) => ({ jsonrpc: "2.0", id, result: value })

/** Shakes hands, refuses the standing stream, leaves the rest to the test. */
function handshake(session: string, rest: (seen: Seen, reply: Reply) => void, capabilities: object = {}) {
  return (seen: Seen, reply: Reply) => {
    if (seen.method === "DELETE") return reply.json(undefined, 204)
    if (
      seen.method === "POST" &&
      seen.headers["mcp-session-id"] !== undefined &&
      seen.headers["mcp-session-id"] !== session
    )
      return reply.json({}, 404)
    if (seen.body.method === "initialize") {
      return reply.json(result(seen.body.id, { protocolVersion: "2025-06-18", capabilities }), 200, {
        "mcp-session-id": session,
      })
    }
    if (seen.body.method === "notifications/initialized") return void reply.raw.writeHead(202).end()
    return rest(seen, reply)
  }
}

describe("lines", () => {
  it("answers rubbish in JSON-RPC and goes on", async () => {
    const server = await daemon((seen, reply) => reply.json(result(seen.body.id)))
    const bridge = bridged(server.url)
    bridge.send(
      "rubbish",
      '"text"',
      '{"jsonrpc":"2.0","id":{},"method":"x"}',
      "",
      "   ",
      '{"jsonrpc":"2.0","id":7}',
      modernCall(1),
    )
    const answers = [
      await bridge.next(),
      await bridge.next(),
      await bridge.next(),
      await bridge.next(),
      await bridge.next(),
    ]
    expect(answers.map(({ error, id }) => error?.code ?? id)).toEqual([-32700, -32600, -32600, -32600, 1])
    expect(server.seen).toHaveLength(1)
  })

  it("drops a line without end and reads the next", async () => {
    const server = await daemon((seen, reply) => reply.json(result(seen.body.id)))
    const bridge = bridged(server.url)
    const megabyte = Buffer.alloc(1_048_576, "x")
    for (let i = 0; i < 11; i++) bridge.raw(megabyte)
    bridge.send("", modernCall(1))
    expect((await bridge.next()).error?.message).toContain("a line may have at most")
    expect((await bridge.next()).id).toBe(1)
  })

  it("passes a message on byte for byte, cut anywhere, and gives the answer on one line", async () => {
    const server = await daemon((seen, reply) =>
      reply.raw
        .writeHead(200, { "content-type": "application/json" })
        .end(
          `{\n  "jsonrpc": "2.0",\r\n  "id": ${String(seen.body.id)},\n "result": {"n": 12345678901234567890, "t": "a\\nb"}\n}\n`,
        ),
    )
    const bridge = bridged(server.url)
    const line = Buffer.from(
      '{"jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"name":"ä","arguments":{"big":9007199254740993}}}\n',
    )
    for (const byte of line) bridge.raw(Buffer.from([byte]))
    await bridge.next()
    expect(server.seen[0]?.text).toBe(line.toString().trim())
    expect(bridge.lines[0]).toBe('{ "jsonrpc": "2.0", "id": 1, "result": {"n": 12345678901234567890, "t": "a\\nb"} }')
  })

  it("finishes what was asked when the client closes its side, then ends", async () => {
    const server = await daemon((seen, reply) => setTimeout(() => reply.json(result(seen.body.id)), 30))
    const bridge = bridged(server.url)
    bridge.send(modernCall(1), modernCall(2))
    bridge.close()
    await bridge.done
    expect(bridge.lines.map((line) => (JSON.parse(line) as Line).id).sort()).toEqual([1, 2])
  })
})

describe("what the daemon may do wrong", () => {
  it.each([
    ["a page", (reply: Reply) => void reply.raw.writeHead(200, { "content-type": "text/html" }).end("<p>"), 50200],
    ["an error page", (reply: Reply) => void reply.raw.writeHead(500).end("oops"), 50200],
    [
      "a refusal without an id",
      (reply: Reply) => reply.json({ jsonrpc: "2.0", error: { code: 40100, message: "unauthorized" } }, 401),
      40100,
    ],
    ["an operator's error", (reply: Reply) => reply.json({ error: "no", code: "forbidden" }, 403), -32603],
    [
      "a broken answer",
      (reply: Reply) => {
        reply.raw.writeHead(200, { "content-type": "application/json", "content-length": "99" }).write("{")
        reply.raw.destroy()
      },
      50202,
    ],
    ["a stream that ends early", (reply: Reply) => reply.stream().end(), 50202],
    ["a cut connection", (reply: Reply) => void reply.raw.destroy(), 50202],
    ["a redirect", (reply: Reply) => void reply.raw.writeHead(307, { location: "http://127.0.0.1:1/" }).end(), 50202],
  ])("%s becomes an error of that call", async (_, misbehave, code) => {
    const server = await daemon((_seen, reply) => misbehave(reply))
    const bridge = bridged(server.url)
    bridge.send(modernCall("m"))
    const first = await bridge.next()
    expect([first.id, first.error?.code]).toEqual(["m", code])
    bridge.send(legacyCall("l"))
    const second = await bridge.next()
    expect([second.id, second.error?.code]).toEqual(["l", code])
    expect(server.seen).toHaveLength(2)
  })

  it("is not there: says so, for each call, after trying a while", async () => {
    const server = await daemon(() => {})
    await server.stop()
    const bridge = bridged(server.url)
    bridge.send(modernCall(1), legacyCall(2))
    const errors = [(await bridge.next()).error, (await bridge.next()).error]
    expect(errors.map((error) => [error?.code, error?.message])).toEqual([
      [50300, `daemon not reachable at ${server.url}`],
      [50300, `daemon not reachable at ${server.url}`],
    ])
  })

  it("comes up late: the call waits for it", async () => {
    const first = await daemon(() => {})
    await first.stop()
    const bridge = bridged(first.url, 10_000)
    bridge.send(modernCall(1))
    await daemon((seen, reply) => reply.json(result(seen.body.id)), first.port)
    expect((await bridge.next()).id).toBe(1)
  })

  it("is starting or stopping (503): a call is tried again, for nothing was done", async () => {
    let busy = true
    const server = await daemon((seen, reply) => {
      if (busy) reply.json({ error: "draining" }, 503)
      else reply.json(result(seen.body.id))
      busy = false
    })
    const bridge = bridged(server.url, 10_000)
    bridge.send(modernCall(1))
    expect((await bridge.next()).result).toEqual({})
  })

  it("loses a read: it is asked again; loses a call: it is not", async () => {
    let lost = 0
    const server = await daemon((seen, reply) => {
      if (lost++ % 2 === 0) reply.raw.destroy()
      else reply.json(result(seen.body.id))
    })
    const bridge = bridged(server.url)
    bridge.send(modernCall(1, "tools/list"))
    expect((await bridge.next()).result).toEqual({})
    bridge.send(modernCall(2))
    expect((await bridge.next()).error).toMatchObject({
      code: 50202,
      message: "the daemon went away during tools/call: it may have been executed",
    })
    expect(server.seen).toHaveLength(3)
  })
})

describe("a client of 2026-07-28", () => {
  it("gets the headers its requests have over HTTP", async () => {
    const schema = {
      type: "object",
      properties: {
        where: { type: "string", "x-mcp-header": "Region" },
        deep: { type: "object", properties: { n: { type: "integer", "x-mcp-header": "N" } } },
      },
    }
    const server = await daemon((seen, reply) =>
      reply.json(
        result(
          seen.body.id,
          seen.body.method === "tools/list" ? { tools: [{ name: "a__b", inputSchema: schema }] } : {},
        ),
      ),
    )
    const bridge = bridged(server.url)
    bridge.send(modernCall(1, "tools/list", {}))
    await bridge.next()
    bridge.send(modernCall(2, "tools/call", { name: "a__b", arguments: { where: "Zürich", deep: { n: 3 } } }))
    await bridge.next()
    bridge.send(modernCall(3, "resources/read", { uri: "x://y" }))
    await bridge.next()
    expect(server.seen[1]?.headers).toMatchObject({
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": "tools/call",
      "mcp-name": "a__b",
      "mcp-param-region": `=?base64?${Buffer.from("Zürich").toString("base64")}?=`,
      "mcp-param-n": "3",
      authorization: "Bearer t",
      accept: "application/json, text/event-stream",
    })
    expect(server.seen[2]?.headers["mcp-name"]).toBe("x://y")
    expect(server.seen.every(({ headers }) => headers["mcp-session-id"] === undefined)).toBe(true)
  })

  it("may call a tool it never listed: the bridge reads up on it once", async () => {
    const server = await daemon((seen, reply) => {
      if (seen.body.method === "tools/list") {
        return reply.json(
          result(seen.body.id, {
            tools: [{ name: "a__b", inputSchema: { properties: { w: { type: "string", "x-mcp-header": "W" } } } }],
          }),
        )
      }
      if (seen.headers["mcp-param-w"] === undefined) {
        return reply.json(
          { jsonrpc: "2.0", id: seen.body.id, error: { code: -32020, message: "the header Mcp-Param-W is missing" } },
          400,
        )
      }
      return reply.json(result(seen.body.id, { w: seen.headers["mcp-param-w"] }))
    })
    const bridge = bridged(server.url)
    bridge.send(modernCall(1, "tools/call", { name: "a__b", arguments: { w: "x" } }))
    expect((await bridge.next()).result).toEqual({ w: "x" })
    bridge.send(modernCall(2, "tools/call", { name: "other", arguments: {} }))
    expect((await bridge.next()).error?.code).toBe(-32020)
    expect(bridge.lines).toHaveLength(2)
  })

  it("cancels by a notification, which closes that exchange and no other", async () => {
    let closed: (() => void) | undefined
    const hungUp = new Promise<void>((resolve) => (closed = resolve))
    const server = await daemon((seen, reply) => {
      if (seen.body.id !== "slow") return reply.json(result(seen.body.id))
      reply.raw.on("close", () => closed?.())
    })
    const bridge = bridged(server.url)
    bridge.send(modernCall("slow"))
    await server.asked(({ body }) => body.id === "slow")
    bridge.send(modernCall("quick"))
    expect((await bridge.next()).id).toBe("quick")
    bridge.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "slow" } })
    await hungUp
    bridge.send(modernCall("after"))
    expect((await bridge.next()).id).toBe("after")
    expect(server.seen.map(({ body }) => body.method)).not.toContain("notifications/cancelled")
  })

  it("keeps listening over a restart, and hears what it may have missed", async () => {
    const acknowledge = (id: unknown) => ({
      jsonrpc: "2.0",
      method: "notifications/subscriptions/acknowledged",
      params: {
        notifications: { toolsListChanged: true, resourceSubscriptions: ["x://y"] },
        _meta: { "io.modelcontextprotocol/subscriptionId": id },
      },
    })
    const first = await daemon((seen, reply) => {
      const stream = reply.stream()
      stream.send(acknowledge(seen.body.id))
      stream.send(result(seen.body.id, { resultType: "complete" }))
      stream.end()
    })
    const bridge = bridged(first.url, 10_000)
    bridge.send(modernCall("sub", "subscriptions/listen", { notifications: { toolsListChanged: true } }))
    expect((await bridge.next()).method).toBe("notifications/subscriptions/acknowledged")
    await first.stop()
    await daemon((seen, reply) => reply.stream().send(acknowledge(seen.body.id)), first.port)
    const missed = [await bridge.next(), await bridge.next()]
    expect(
      missed.map(({ method, params }) => [method, params?.["uri"], params?.["_meta"] as object | undefined]),
    ).toEqual([
      ["notifications/tools/list_changed", undefined, { "io.modelcontextprotocol/subscriptionId": "sub" }],
      ["notifications/resources/updated", "x://y", { "io.modelcontextprotocol/subscriptionId": "sub" }],
    ])
    bridge.close()
    await bridge.done
  })
})

describe("a client with a session", () => {
  it("has its session's headers on everything, and says goodbye", async () => {
    const server = await daemon(
      handshake("s1", (seen, reply) =>
        seen.method === "GET" ? reply.json({}, 405) : reply.json(result(seen.body.id)),
      ),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize, initialized, legacyCall(1))
    await bridge.next()
    await bridge.next()
    bridge.close()
    await bridge.done
    const others = server.seen.filter(({ body }) => body.method !== "initialize")
    expect(others.map(({ headers }) => [headers["mcp-session-id"], headers["mcp-protocol-version"]])).toEqual(
      others.map(() => ["s1", "2025-06-18"]),
    )
    expect(server.seen.at(-1)?.method).toBe("DELETE")
    expect(server.seen.map(({ method }) => method)).toContain("GET")
  })

  it("is asked during a call and answers, while other calls go on", async () => {
    let ask: ReturnType<Reply["stream"]> | undefined
    const server = await daemon(
      handshake("s1", (seen, reply) => {
        if (seen.method === "GET") return reply.json({}, 405)
        if (seen.body.id === "asks") {
          ask = reply.stream()
          return ask.send({ jsonrpc: "2.0", id: "q1", method: "elicitation/create", params: {} })
        }
        if (seen.body.id === "q1") {
          ask?.send(result("asks", { got: (seen.body as Line).result }))
          ask?.end()
          return void reply.raw.writeHead(202).end()
        }
        return reply.json(result(seen.body.id))
      }),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    bridge.send(initialized, legacyCall("asks"))
    expect((await bridge.next()).method).toBe("elicitation/create")
    bridge.send(legacyCall("other"))
    expect((await bridge.next()).id).toBe("other")
    bridge.send({ jsonrpc: "2.0", id: "q1", result: { action: "accept" } })
    expect((await bridge.next()).result).toEqual({ got: { action: "accept" } })
  })

  it("tells a cancellation and is not bothered with the answer", async () => {
    const held = new Map<unknown, Reply>()
    const server = await daemon(
      handshake("s1", (seen, reply) => {
        if (seen.method === "GET") return reply.json({}, 405)
        if (seen.body.method === "notifications/cancelled") {
          held
            .get(seen.body.params?.["requestId"])
            ?.json({ jsonrpc: "2.0", id: "slow", error: { code: 49900, message: "cancelled" } })
          return void reply.raw.writeHead(202).end()
        }
        if (seen.body.id === "slow") return void held.set("slow", reply)
        return reply.json(result(seen.body.id))
      }),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    bridge.send(legacyCall("slow"))
    await server.asked(({ body }) => body.id === "slow")
    bridge.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "slow" } })
    await server.asked(({ body }) => body.method === "notifications/cancelled")
    bridge.send(legacyCall("after"))
    expect((await bridge.next()).id).toBe("after")
    expect(bridge.lines).toHaveLength(2)
  })

  it("gets what the standing stream brings, and reads on where that broke", async () => {
    let streams = 0
    const server = await daemon(
      handshake("s1", (seen, reply) => {
        if (seen.method !== "GET") return reply.json(result(seen.body.id))
        const stream = reply.stream()
        stream.send({ jsonrpc: "2.0", method: `n${++streams}` }, `standing/${streams}`)
        if (streams === 1) setImmediate(() => stream.cut())
      }),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    bridge.send(initialized)
    expect([(await bridge.next()).method, (await bridge.next()).method]).toEqual(["n1", "n2"])
    expect(server.seen.filter(({ method }) => method === "GET").map(({ headers }) => headers["last-event-id"])).toEqual(
      [undefined, "standing/1"],
    )
  })

  it("reads on a call's stream that broke", async () => {
    const server = await daemon(
      handshake("s1", (seen, reply) => {
        if (seen.method === "GET") {
          if (seen.headers["last-event-id"] !== "call/1") return reply.json({}, 405)
          const rest = reply.stream()
          rest.send(result("c", { late: true }), "call/2")
          return rest.end()
        }
        const stream = reply.stream()
        stream.send({ jsonrpc: "2.0", method: "notifications/progress" }, "call/1")
        setImmediate(() => stream.cut())
      }),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    bridge.send(legacyCall("c"))
    expect((await bridge.next()).method).toBe("notifications/progress")
    expect((await bridge.next()).result).toEqual({ late: true })
    expect(server.seen.filter(({ body }) => body.id === "c")).toHaveLength(1)
  })

  it("lives on when the daemon has forgotten it: once begun again for all, with its log level and subscriptions", async () => {
    let session = "s1"
    const capabilities = { tools: { listChanged: true }, prompts: {} }
    const server = await daemon((seen, reply) =>
      handshake(
        session,
        (asked, answer) => (asked.method === "GET" ? answer.json({}, 405) : answer.json(result(asked.body.id))),
        capabilities,
      )(seen, reply),
    )
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    bridge.send(
      initialized,
      legacyCall(1, "logging/setLevel", { level: "debug" }),
      legacyCall(2, "resources/subscribe", { uri: "x://y" }),
      legacyCall(3, "resources/subscribe", { uri: "x://z" }),
      legacyCall(4, "resources/unsubscribe", { uri: "x://z" }),
    )
    for (let i = 0; i < 4; i++) await bridge.next()
    session = "s2"
    const before = server.seen.length
    bridge.send(legacyCall(5), legacyCall(6))
    const answers = [await bridge.next(), await bridge.next(), await bridge.next()]
    expect(answers.map(({ id, method }) => id ?? method).sort()).toEqual([5, 6, "notifications/tools/list_changed"])
    const replayed = server.seen
      .slice(before)
      .filter(({ headers, body }) => headers["mcp-session-id"] !== "s1" && body.method !== "tools/call")
    expect(replayed.map(({ method, body }) => body.method ?? method)).toEqual([
      "initialize",
      "notifications/initialized",
      "logging/setLevel",
      "resources/subscribe",
      "GET",
    ])
    expect(bridge.warnings).toEqual([`the daemon at ${server.url} was started anew; the session goes on`])
  })

  it("is told when it cannot be begun again", async () => {
    let refuse = false
    const server = await daemon((seen, reply) => {
      if (refuse && seen.body.method === "initialize") return reply.json({ error: "no" }, 403)
      return handshake(refuse ? "s2" : "s1", (asked, answer) => answer.json(result(asked.body.id)))(seen, reply)
    })
    const bridge = bridged(server.url)
    bridge.send(initialize)
    await bridge.next()
    refuse = true
    bridge.send(legacyCall(1))
    expect((await bridge.next()).error?.message).toContain("does not take this client again")
  })
})
