import { ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import { describe, expect, test } from "vitest"
import {
  contextFor,
  finish,
  legacyClient,
  modernClient,
  peerOver,
  plainClient,
  textOf,
  toolCall,
  type LoggedLine,
  eventually,
} from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { failed, httpScript, discovered } from "./testing/http-script.ts"
import { initialized } from "./testing/http-script.ts"
import { pipeTo, rpcError, scripted, type ServerEnd } from "./testing/pipe.ts"

const text = (words: string): JsonObject => ({ content: [{ type: "text", text: words }] })

/** A legacy pipe server whose tool calls are answered by hand. */
function byHand(call: (message: JsonObject & { id?: number; params: JsonObject }, end: ServerEnd) => unknown) {
  return pipeTo(
    scripted((message, end) => {
      if (message.method === "initialize") return initialized()
      if (message.method === "tools/call") return call(message, end)
      if (message.method === "ping") return {}
      if (message.id !== undefined) throw rpcError(-32601, "no")
      return undefined
    }),
  )
}

describe("an upstream that sends rubbish", () => {
  test("does not reach a call with answers of unknown ids, other types of ids, twice, in arrays, or nothing at all", async () => {
    const lines: LoggedLine[] = []
    const pipe = byHand(async ({ id }, end) => {
      const foreign = text("foreign")
      await end.send([{ jsonrpc: "2.0", id, result: foreign }])
      await end.send("text")
      await end.send(null)
      await end.send({ jsonrpc: "2.0", id: 4711, result: foreign })
      await end.send({ jsonrpc: "2.0", id: String(id), result: foreign })
      await end.send({ jsonrpc: "2.0", id: null, result: foreign })
      await end.send({ jsonrpc: "2.0", id: null, error: { code: -1, message: "foreign" } })
      await end.send({ jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 4711, progress: 1 } })
      await end.send({ jsonrpc: "2.0", method: "notifications/nobody/knows", params: {} })
      await end.send({ jsonrpc: "2.0", id, result: text("right") })
      await end.send({ jsonrpc: "2.0", id, result: foreign })
      return undefined
    })
    await using peer = await peerOver(pipe.dial, { lines })
    const context = contextFor(modernClient)
    const first = await finish(peer, toolCall("a", {}, { progressToken: 1 }), context)
    const second = await finish(peer, toolCall("a", {}, { progressToken: 1 }), contextFor(modernClient))
    expect([textOf(first.result), textOf(second.result)]).toEqual(["right", "right"])
    expect([...first.notifications, ...second.notifications]).toEqual([])
    expect(lines.filter(({ text }) => text.includes("dropped")).length).toBeGreaterThanOrEqual(3)
  })

  test("answers pings and refuses requests of unknown methods, and of known ones outside any call", async () => {
    const pipe = byHand(() => undefined)
    await using _peer = await peerOver(pipe.dial)
    await pipe.end.send({ jsonrpc: "2.0", id: "p", method: "ping" })
    await pipe.end.send({ jsonrpc: "2.0", id: "u", method: "rm/rf" })
    await pipe.end.send({ jsonrpc: "2.0", id: "r", method: "roots/list" })
    await eventually(() => pipe.sent.filter(({ id }) => typeof id === "string")).toHaveLength(3)
    const answers = Object.fromEntries(pipe.sent.map(({ id, result, error }) => [id, result ?? error]))
    expect(answers).toMatchObject({ p: {}, u: { code: -32601 }, r: { code: -32601 } })
  })

  test.each([
    ["a result that is no object", { result: 5 }],
    ["neither result nor error", {}],
    ["an error without a number", { error: { message: "x" } }],
    ["a result type nobody knows", { result: { resultType: "surprise" } }],
    [
      "input_required from a server that cannot mean it",
      { result: { resultType: "input_required", requestState: "x" } },
    ],
  ])("%s ends the call as upstream_invalid", async (_what, answer) => {
    const pipe = byHand(async ({ id }, end) => void (await end.send({ jsonrpc: "2.0", id, ...answer })))
    await using peer = await peerOver(pipe.dial)
    await expect(finish(peer, toolCall("a"), contextFor(modernClient))).rejects.toMatchObject({
      code: "upstream_invalid",
    })
  })

  test("input_required without anything required is upstream_invalid from a modern server too", async () => {
    const script = httpScript(({ method }) =>
      method === "server/discover" ? discovered() : { resultType: "input_required" },
    )
    await using peer = await peerOver(script.dial)
    await expect(finish(peer, toolCall("a"), contextFor(modernClient))).rejects.toMatchObject({
      code: "upstream_invalid",
    })
  })

  test("an answer over its limit is result_too_large", async () => {
    const pipe = byHand(() => text("x".repeat(500)))
    await using peer = await peerOver(pipe.dial)
    const limits = { idleMs: 1000, totalMs: 1000, maxResultBytes: 300 }
    await expect(finish(peer, toolCall("a"), contextFor(modernClient, { limits }))).rejects.toMatchObject({
      code: "result_too_large",
    })
  })

  test("an answer on another request's exchange goes nowhere", async () => {
    const script = httpScript(({ method, id, receiver }) => {
      if (method === "server/discover") return discovered()
      if (script.asked.length === 2) return undefined
      receiver.message({ jsonrpc: "2.0", id: 2, result: text("swapped") }, id)
      receiver.message(
        { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 2, progress: 9 } },
        id,
      )
      return text("second")
    })
    await using peer = await peerOver(script.dial)
    const first = finish(peer, toolCall("a", {}, { progressToken: "t" }), contextFor(modernClient))
    await eventually(() => script.asked.length).toBe(2)
    const second = await finish(peer, toolCall("a"), contextFor(modernClient))
    script.asked[1]?.receiver.message({ jsonrpc: "2.0", id: 2, result: text("first") }, 2)
    expect(textOf(second.result)).toBe("second")
    expect(await first).toMatchObject({ notifications: [], result: text("first") })
  })
})

describe("silence", () => {
  test("ends the call after idleMs without a sign of life, and cancels it upstream; a notification is a sign", async () => {
    const clock = handClock()
    let id: number | undefined
    const pipe = byHand((message) => void (id = message.id))
    await using peer = await peerOver(pipe.dial, { clock })
    const limits = { idleMs: 1000, totalMs: 60_000, maxResultBytes: 1000 }
    const done = finish(peer, toolCall("a", {}, { progressToken: "t" }), contextFor(plainClient, { limits }))
    let over = false
    const watched = done.then(
      () => undefined,
      (thrown: unknown) => {
        over = true
        return thrown
      },
    )
    await eventually(() => id).toBeDefined()
    await clock.pass(900)
    await pipe.end.send({
      jsonrpc: "2.0",
      method: "notifications/progress",
      params: { progressToken: id, progress: 1 },
    })
    await clock.pass(900)
    expect(over).toBe(false)
    await clock.pass(200)
    expect(await watched).toMatchObject({ code: "upstream_timeout" })
    expect(pipe.sent.at(-1)).toMatchObject({ method: expect.stringMatching(/cancelled|ping/) })
    expect(pipe.sent).toContainEqual(
      expect.objectContaining({
        method: "notifications/cancelled",
        params: expect.objectContaining({ requestId: id }),
      }),
    )
  })

  test("bytes of its own exchange are a sign of life over HTTP", async () => {
    const clock = handClock()
    const script = httpScript(({ method }) => (method === "server/discover" ? discovered() : undefined))
    await using peer = await peerOver(script.dial, { clock })
    const limits = { idleMs: 1000, totalMs: 60_000, maxResultBytes: 1000 }
    const done = finish(peer, toolCall("a"), contextFor(modernClient, { limits }))
    await eventually(() => script.asked.length).toBe(2)
    for (let round = 0; round < 5; round++) {
      await clock.pass(900)
      script.asked[1]?.receiver.alive?.(script.asked[1].id)
    }
    script.asked[1]?.receiver.message(
      { jsonrpc: "2.0", id: script.asked[1].id, result: text("at last") },
      script.asked[1].id,
    )
    expect(textOf((await done).result)).toBe("at last")
  })
})

describe("an upstream that dies", () => {
  test("ends what was sent as outcome_unknown, what can be repeated by anyone as unavailable, and tells watchers", async () => {
    const pipe = byHand(() => undefined)
    await using peer = await peerOver(pipe.dial)
    const stop = new AbortController()
    const changes: unknown[] = []
    const watching = (async () => {
      for await (const change of peer.watch?.({ lists: true }, stop.signal) ?? []) changes.push(change)
    })()
    const call = finish(peer, toolCall("a"), contextFor(legacyClient))
    const read = finish(peer, { method: "prompts/list", params: {}, meta: {} }, contextFor(plainClient))
    await eventually(() => pipe.sent.some(({ method }) => method === "prompts/list")).toBe(true)
    const settled = Promise.allSettled([call, read])
    await eventually(() => changes.length).toBe(1)
    await pipe.end.close()
    const [first] = await settled
    expect(first).toMatchObject({ status: "rejected", reason: { code: "outcome_unknown" } })
    await watching
    expect(changes).toEqual([
      { kind: "watching", resources: [] },
      { kind: "exit", reason: expect.any(String) },
    ])
    await expect(finish(peer, toolCall("a"), contextFor(plainClient))).rejects.toMatchObject({ code: "unavailable" })
    expect(pipe.dials).toBe(1)
  })

  test.each([
    ["a list", { method: "prompts/list", params: {}, meta: {} }],
    ["a read-only tool", toolCall("safe")],
    ["an idempotent tool", toolCall("again")],
  ])("over HTTP %s is repeated once when the connection breaks", async (_what, request) => {
    let breaks = 1
    const tools = [
      { name: "safe", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
      { name: "again", inputSchema: { type: "object" }, annotations: { idempotentHint: true } },
    ]
    const script = httpScript(({ method }) => {
      if (method === "server/discover") return discovered()
      if (method === "tools/list") return { tools }
      if (breaks-- > 0) throw failed("unavailable", true)
      return text("second time")
    })
    await using peer = await peerOver(script.dial)
    await peer.describe(new AbortController().signal)
    expect(textOf((await finish(peer, request, contextFor(modernClient))).result)).toBe("second time")
    breaks = 2
    await expect(finish(peer, request, contextFor(modernClient))).rejects.toBeInstanceOf(ClarityError)
  })

  test("any other tool is not repeated once sent, and is when nothing was sent", async () => {
    let sent = true
    let breaks = 1
    const script = httpScript(({ method }) => {
      if (method === "server/discover") return discovered()
      if (breaks-- > 0) throw failed("unavailable", sent)
      return text("ok")
    })
    await using peer = await peerOver(script.dial)
    const error = await finish(peer, toolCall("pay"), contextFor(modernClient)).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: "outcome_unknown", message: expect.stringContaining("may have been executed") })
    expect(script.asked.filter(({ method }) => method === "tools/call")).toHaveLength(1)
    sent = false
    breaks = 2
    expect(textOf((await finish(peer, toolCall("pay"), contextFor(modernClient))).result)).toBe("ok")
    breaks = 3
    await expect(finish(peer, toolCall("pay"), contextFor(modernClient))).rejects.toMatchObject({ code: "unavailable" })
  })
})
