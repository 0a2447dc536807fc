import type { Backend, JsonObject } from "@clarity-runtime/contracts"
import { describe, expect, test } from "vitest"
import { contextFor, finish, modernClient, peerOver, toolCall, eventually } from "./testing/calls.ts"
import { discovered, failed, httpScript, initialized } from "./testing/http-script.ts"
import { pipeTo, rpcError, scripted } from "./testing/pipe.ts"

const never = new AbortController().signal
const object = { type: "object" }
const annotated = (value: unknown, schema: JsonObject = { type: "string" }) => ({
  type: "object",
  properties: { a: { ...schema, "x-mcp-header": value } },
})

/** A modern pipe server that answers lists by the given function. */
function lister(
  answer: (method: string, cursor: unknown) => unknown,
  capabilities: JsonObject = { tools: {} },
): Promise<Backend> {
  const pipe = pipeTo(
    scripted(({ method, params }) =>
      method === "server/discover" ? discovered({ capabilities }) : answer(method, params["cursor"]),
    ),
  )
  return peerOver(pipe.dial)
}

describe("a described upstream", () => {
  test("loses its bad items one by one, each with its reason, and keeps the good ones whole", async () => {
    const good = { name: "good", inputSchema: object, "x-own": { kept: true }, execution: {} }
    const tools = [
      good,
      null,
      "tool",
      { inputSchema: object },
      { name: 5, inputSchema: object },
      { name: "", inputSchema: object },
      { name: "x".repeat(129), inputSchema: object },
      { name: "__proto__", inputSchema: object },
      { name: "line\nbreak", inputSchema: object },
      { name: "no-schema" },
      { name: "array-schema", inputSchema: [] },
      { name: "string-schema", inputSchema: { type: "string" } },
      { name: "bad-output", inputSchema: object, outputSchema: 1 },
      { name: "long", description: "é".repeat(4097), inputSchema: object },
      { name: "fits", description: "é".repeat(4096), inputSchema: object },
      { name: "large", inputSchema: { type: "object", $comment: "x".repeat(262_144) } },
      { name: "deep", inputSchema: { type: "object", x: nested(200) } },
      { name: "good", inputSchema: object },
    ]
    await using peer = await lister(() => ({ tools }))
    const face = await peer.describe(never)
    expect(face.tools.map(({ name }) => name)).toEqual(["good", "fits"])
    expect(face.tools[0]).toEqual(good)
    expect(face.rejected).toHaveLength(tools.length - 2)
    expect(face.rejected).toContainEqual({ item: "deep", reason: expect.stringContaining("nested") })
    expect(face.rejected).toContainEqual({ item: "good", reason: expect.stringContaining("twice") })
  })

  test("checks prompts, resources and templates likewise, and asks only for what is declared", async () => {
    const asked: string[] = []
    await using peer = await lister(
      (method) => {
        asked.push(method)
        if (method === "prompts/list") return { prompts: [{ name: "p" }, { name: "q", arguments: [1] }, {}] }
        if (method === "resources/list") return { resources: [{ uri: "a:b" }, { uri: 1 }] }
        return { resourceTemplates: [{ uriTemplate: "a:{b}" }, {}] }
      },
      { prompts: {}, resources: {} },
    )
    const face = await peer.describe(never)
    expect([face.tools.length, face.prompts.length, face.resources.length, face.resourceTemplates.length]).toEqual([
      0, 1, 1, 1,
    ])
    expect(face.rejected).toHaveLength(4)
    expect(asked).not.toContain("tools/list")
  })

  test("may have up to 2048 tools on up to 64 pages, in no circle", async () => {
    const many = (from: number, count: number) =>
      Array.from({ length: count }, (_, index) => ({ name: `t${from + index}`, inputSchema: object }))
    await using endless = await lister((_method, cursor) => {
      const page = Number(cursor ?? 0)
      return { tools: many(page, 1), nextCursor: String(page + 1) }
    })
    const long = await endless.describe(never)
    expect([long.tools.length, long.rejected]).toEqual([64, [{ item: "tools/list", reason: "more than 64 pages" }]])
    await using circle = await lister((_method, cursor) => ({ tools: many(cursor ? 1 : 0, 1), nextCursor: "same" }))
    expect((await circle.describe(never)).tools).toHaveLength(2)
    await using crowd = await lister(() => ({ tools: many(0, 2049) }))
    const crowded = await crowd.describe(never)
    expect([crowded.tools.length, crowded.rejected?.length]).toEqual([2048, 1])
    await using blank = await lister((_method, cursor) => ({
      tools: many(cursor === "" ? 1 : 0, 1),
      ...(cursor === undefined ? { nextCursor: "" } : {}),
    }))
    expect((await blank.describe(never)).tools).toHaveLength(2)
  })

  test("has an empty list where a declared one is not found, and is invalid where it is no list", async () => {
    await using without = await lister(() => {
      throw rpcError(-32601, "no")
    })
    expect((await without.describe(never)).tools).toEqual([])
    await using broken = await lister(() => ({ tools: { a: 1 } }))
    await expect(broken.describe(never)).rejects.toMatchObject({
      code: "upstream_invalid",
      message: expect.stringContaining("tools/list"),
    })
  })
})

describe("x-mcp-header", () => {
  const tools = [
    {
      name: "ok",
      inputSchema: {
        type: "object",
        properties: {
          where: { type: "object", properties: { city: { type: "string", "x-mcp-header": "City" } } },
          n: { type: "integer", "x-mcp-header": "N" },
          b: { type: "boolean", "x-mcp-header": "B" },
        },
      },
    },
    { name: "empty", inputSchema: annotated("") },
    { name: "space", inputSchema: annotated("a b") },
    { name: "number", inputSchema: annotated("A", { type: "number" }) },
    {
      name: "twice",
      inputSchema: {
        type: "object",
        properties: { a: { type: "string", "x-mcp-header": "A" }, b: { type: "string", "x-mcp-header": "a" } },
      },
    },
    {
      name: "items",
      inputSchema: {
        type: "object",
        properties: { a: { type: "array", items: { type: "string", "x-mcp-header": "A" } } },
      },
    },
    { name: "anyOf", inputSchema: { type: "object", anyOf: [annotated("A")] } },
    { name: "named", inputSchema: { type: "object", properties: { "x-mcp-header": { type: "string" } } } },
  ]

  test("drops what breaks the rules over HTTP, and goes with the call where it keeps them", async () => {
    const script = httpScript(({ method }) =>
      method === "server/discover" ? discovered() : method === "tools/list" ? { tools } : { content: [] },
    )
    await using peer = await peerOver(script.dial)
    const face = await peer.describe(never)
    expect(face.tools.map(({ name }) => name)).toEqual(["ok", "named"])
    expect(face.rejected).toHaveLength(6)
    const call = toolCall("ok", { where: { city: "Zürich" }, n: 42, b: false })
    await finish(peer, call, contextFor(modernClient, { trace: { traceparent: "00-1-2-01" } }))
    expect(script.asked.at(-1)?.headers).toEqual({
      "Mcp-Method": "tools/call",
      "Mcp-Name": "ok",
      "Mcp-Param-City": `=?base64?${Buffer.from("Zürich").toString("base64")}?=`,
      "Mcp-Param-N": "42",
      "Mcp-Param-B": "false",
      traceparent: "00-1-2-01",
    })
    await finish(peer, toolCall("ok", { n: null }), contextFor(modernClient))
    expect(Object.keys(script.asked.at(-1)?.headers ?? {})).toEqual(["Mcp-Method", "Mcp-Name"])
  })

  test("is no reason to drop a tool on a pipe", async () => {
    await using peer = await lister(() => ({ tools }))
    expect((await peer.describe(never)).tools).toHaveLength(tools.length)
  })

  test("is learned anew once when the upstream says the headers are wrong (-32020)", async () => {
    let strict = true
    const script = httpScript(({ method, headers }) => {
      if (method === "server/discover") return discovered()
      if (method === "tools/list") return { tools }
      if (strict && headers["Mcp-Param-N"] !== "1") throw rpcError(-32020, "headers")
      return { content: [] }
    })
    await using peer = await peerOver(script.dial)
    await expect(finish(peer, toolCall("ok", { n: 1 }), contextFor(modernClient))).resolves.toBeDefined()
    await expect(finish(peer, toolCall("ok", { n: 2 }), contextFor(modernClient))).rejects.toMatchObject({
      code: "internal",
    })
    strict = false
    await expect(finish(peer, toolCall("ok", { n: 2 }), contextFor(modernClient))).resolves.toBeDefined()
  })
})

describe("a modern call", () => {
  test("speaks for the end client, under our own id and progress token", async () => {
    const script = httpScript(({ method }) => (method === "server/discover" ? discovered() : { content: [] }))
    await using peer = await peerOver(script.dial)
    const meta = { progressToken: "theirs", "com.example/x": 1 }
    const client = { ...modernClient, logLevel: "info" }
    const more = { inputResponses: { k: { action: "accept" } }, requestState: "opaque" }
    await finish(peer, toolCall("t", { a: 1 }, meta, more), contextFor(client, { trace: { tracestate: "a=b" } }))
    const asked = script.asked.at(-1)
    expect(asked?.params).toEqual({
      name: "t",
      arguments: { a: 1 },
      ...more,
      _meta: {
        "com.example/x": 1,
        tracestate: "a=b",
        progressToken: asked?.id,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": modernClient.capabilities,
        "io.modelcontextprotocol/clientInfo": { name: "the-client", version: "3" },
        "io.modelcontextprotocol/logLevel": "info",
      },
    })
  })

  test.each([
    [{ elicitation: { url: {} } }, "internal"],
    [{ elicitation: {} }, "internal"],
    [{ sampling: { tools: {} } }, "capability_missing"],
  ])("-32021 for %j is %s", async (requiredCapabilities, code) => {
    const script = httpScript(({ method }) => {
      if (method === "server/discover") return discovered()
      throw rpcError(-32021, "need", { requiredCapabilities })
    })
    await using peer = await peerOver(script.dial)
    await expect(finish(peer, toolCall("t"), contextFor(modernClient))).rejects.toMatchObject({ code })
  })

  test("that is cancelled closes its exchange and nothing more", async () => {
    const script = httpScript(({ method }) => (method === "server/discover" ? discovered() : undefined))
    await using peer = await peerOver(script.dial)
    const abort = new AbortController()
    const call = finish(peer, toolCall("t"), contextFor(modernClient, { signal: abort.signal }))
    await eventually(() => script.asked.length).toBe(2)
    abort.abort()
    await expect(call).rejects.toMatchObject({ code: "cancelled" })
    expect([script.abandoned, script.notified]).toEqual([[script.asked[1]?.id], []])
  })

  test("in the legacy era is cancelled by a message as well", async () => {
    const script = httpScript(({ method }) => {
      if (method === "server/discover") throw failed("upstream_invalid", true, 404)
      return method === "initialize" ? initialized() : undefined
    })
    await using peer = await peerOver(script.dial)
    const abort = new AbortController()
    const reply = peer.call(toolCall("t"), contextFor(modernClient, { signal: abort.signal }))
    const first = reply.next()
    await eventually(() => script.asked.at(-1)?.method).toBe("tools/call")
    abort.abort()
    const ended = reply.return(undefined as never)
    await expect(first).rejects.toMatchObject({ code: "cancelled" })
    await ended
    expect([script.abandoned, script.notified]).toEqual([
      [script.asked.at(-1)?.id],
      ["notifications/initialized", "notifications/initialized", "notifications/cancelled"],
    ])
  })

  test("does nothing before it is read", async () => {
    const script = httpScript(({ method }) => (method === "server/discover" ? discovered() : { content: [] }))
    await using peer = await peerOver(script.dial)
    peer.call(toolCall("t"), contextFor(modernClient))
    await new Promise((resolve) => setImmediate(resolve))
    expect(script.asked).toHaveLength(1)
  })
})

function nested(levels: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < levels; level++) value = { a: value }
  return value
}
