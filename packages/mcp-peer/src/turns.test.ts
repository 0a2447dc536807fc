import { systemClock, type JsonObject } from "@clarity-runtime/contracts"
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
  eventually,
} from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { failed, httpScript, initialized } from "./testing/http-script.ts"
import { pipeTo, rpcError, scripted } from "./testing/pipe.ts"
import { createTurns } from "./turns.ts"

const never = new AbortController().signal
const text = (words: string): JsonObject => ({ content: [{ type: "text", text: words }] })

describe("turns", () => {
  test("come in the order of asking, skip who left, and end with the wait", async () => {
    const clock = handClock()
    const turns = createTurns("up", clock)
    const order: string[] = []
    const first = await turns.take("me", never, 1000)
    const leaver = new AbortController()
    const wait = (name: string, signal: AbortSignal, ms: number) =>
      turns.take("me", signal, ms).then(
        (turn) => {
          order.push(name)
          turn.release()
        },
        (error: { code: string }) => void order.push(`${name} ${error.code}`),
      )
    const all = [wait("a", never, 9000), wait("b", leaver.signal, 9000), wait("c", never, 500), wait("d", never, 9000)]
    leaver.abort()
    await clock.pass(600)
    first.release()
    first.release()
    await Promise.all(all)
    expect(order).toEqual(["b cancelled", "c unavailable", "a", "d"])
    expect(clock.sleepers).toBe(0)
    ;(await turns.take("me", never, 1)).release()
  })

  test("of a call that waits for a person go to its owner's next calls, and to nobody else's", async () => {
    const clock = handClock()
    const turns = createTurns("up", clock)
    const order: string[] = []
    const take = (owner: string, name: string) =>
      turns.take(owner, never, 9000).then((turn) => {
        order.push(name)
        return turn
      })
    const asked = await take("me", "asked")
    const [other, mine] = [take("you", "other"), take("me", "mine")]
    asked.pause()
    // First come, first served: mine waits behind the other's, who waits for my question to be answered.
    await clock.pass(1)
    expect(order).toEqual(["asked"])
    await asked.resume(never)
    asked.release()
    ;(await other).pause()
    const third = take("you", "third")
    await clock.pass(1)
    expect(order).toEqual(["asked", "other"])
    ;(await other).release()
    ;(await mine).release()
    await third
    expect(order).toEqual(["asked", "other", "mine", "third"])
  })

  test("come back before everybody who queues, unless the call is over or its caller gone", async () => {
    const turns = createTurns("up", handClock())
    const order: string[] = []
    const take = () => turns.take("me", never, 9000)
    const pausing = async () => {
      const turn = await take()
      turn.pause()
      return turn
    }
    const [asked, over, left] = [await pausing(), await pausing(), await pausing()]
    const running = await take()
    const queued = take().then((turn) => {
      order.push("queued")
      return turn
    })
    const back = asked.resume(never).then(() => order.push("back"))
    const leaver = new AbortController()
    const gone = expect(left.resume(leaver.signal)).rejects.toMatchObject({ code: "cancelled" })
    leaver.abort()
    await gone
    left.release()
    const ended = over.resume(never)
    over.release()
    await ended
    expect(order).toEqual([])
    running.release()
    await back
    expect([order, turns.waiting]).toEqual([["back"], 1])
    asked.release()
    ;(await queued).release()
    expect(turns.waiting).toBe(0)
    ;(await turns.take("you", never, 1)).release()
  })
})

/** A legacy server that keeps calls open until released by their text. */
function holding() {
  const open = new Map<string, (result: JsonObject) => void>()
  const pipe = pipeTo(
    scripted(async ({ method, id, params }) => {
      if (method === "initialize") return initialized()
      if (method === "ping") return {}
      if (method === "tools/call") {
        const key = String((params["arguments"] as JsonObject)["text"])
        return new Promise((resolve) => open.set(key, resolve))
      }
      if (id !== undefined && method) throw rpcError(-32601, "no")
      return undefined
    }),
  )
  return { pipe, open }
}

describe("on a shared pipe", () => {
  test("calls that may be asked back take turns, others run beside them", async () => {
    const { pipe, open } = holding()
    await using peer = await peerOver(pipe.dial)
    const run = (words: string, client = modernClient) =>
      finish(peer, toolCall("t", { text: words }), contextFor(client))
    const first = run("first")
    const second = run("second", legacyClient)
    const plain = [run("p1", plainClient), run("p2", plainClient)]
    await eventually(() => [...open.keys()].sort()).toEqual(["first", "p1", "p2"])
    for (const key of ["p1", "p2"]) open.get(key)?.(text(key))
    expect((await Promise.all(plain)).map(({ result }) => textOf(result))).toEqual(["p1", "p2"])
    open.get("first")?.(text("first"))
    expect(textOf((await first).result)).toBe("first")
    await eventually(() => open.has("second")).toBe(true)
    open.get("second")?.(text("second"))
    expect(textOf((await second).result)).toBe("second")
  })

  test("a question nobody answers holds up neither its principal's other calls nor their questions", async () => {
    const { pipe, open } = holding()
    await using peer = await peerOver(pipe.dial)
    const ask = (id: string) =>
      pipe.end.send({ jsonrpc: "2.0", id, method: "elicitation/create", params: { message: id } })
    const first = finish(peer, toolCall("t", { text: "first" }), contextFor(modernClient))
    await eventually(() => open.has("first")).toBe(true)
    await ask("of first")
    const parked = (await first).result
    const second = finish(peer, toolCall("t", { text: "second" }), contextFor(modernClient))
    await eventually(() => open.has("second")).toBe(true)
    await ask("of second")
    const other = (await second).result
    expect(other["inputRequests"]).toEqual({
      ask_1: { method: "elicitation/create", params: { message: "of second" } },
    })
    // The first is answered while the second still waits.
    const answers = { inputResponses: { ask_1: { action: "decline" } }, requestState: parked["requestState"] }
    const resumed = finish(peer, toolCall("t", { text: "first" }, {}, answers), contextFor(modernClient))
    await eventually(() => pipe.sent).toContainEqual(
      expect.objectContaining({ id: "of first", result: { action: "decline" } }),
    )
    open.get("first")?.(text("first"))
    expect(textOf((await resumed).result)).toBe("first")
  })

  test("one that waits too long is told so", async () => {
    const { pipe, open } = holding()
    const clock = handClock()
    await using peer = await peerOver(pipe.dial, { clock })
    const limits = { idleMs: 5000, totalMs: 60_000, maxResultBytes: 10_000 }
    const first = finish(peer, toolCall("t", { text: "first" }), contextFor(modernClient))
    await eventually(() => open.has("first")).toBe(true)
    const second = finish(peer, toolCall("t", { text: "second" }), contextFor(modernClient, { limits }))
    const refused = expect(second).rejects.toMatchObject({ code: "unavailable", data: { service: "up" } })
    await clock.pass(5001)
    await refused
    open.get("first")?.(text("first"))
    await first
  })

  test("nothing of an aborted call reaches the next: neither its question nor its log line nor its answer", async () => {
    const { pipe, open } = holding()
    await using peer = await peerOver(pipe.dial)
    const abort = new AbortController()
    const first = finish(peer, toolCall("t", { text: "first" }), contextFor(modernClient, { signal: abort.signal }))
    await eventually(() => open.has("first")).toBe(true)
    const client = { ...modernClient, logLevel: "debug" }
    const second = finish(peer, toolCall("t", { text: "second" }), contextFor(client))
    const third = finish(peer, toolCall("t", { text: "third" }), contextFor({ ...plainClient, logLevel: "debug" }))
    await eventually(() => open.has("third")).toBe(true)
    open.get("third")?.(text("third"))
    await third
    abort.abort()
    // Written before the server has read of the cancellation.
    const secret = "of the first"
    await pipe.end.send({ jsonrpc: "2.0", method: "notifications/message", params: { level: "error", data: secret } })
    await pipe.end.send({ jsonrpc: "2.0", id: "q", method: "elicitation/create", params: { message: secret } })
    await expect(first).rejects.toMatchObject({ code: "cancelled" })
    await eventually(() => open.has("second")).toBe(true)
    open.get("first")?.(text(secret))
    open.get("second")?.(text("second"))
    const { result, notifications } = await second
    expect([textOf(result), notifications]).toEqual(["second", []])
    expect(pipe.sent).toContainEqual(
      expect.objectContaining({ id: "q", error: expect.objectContaining({ code: -32601 }) }),
    )
  })
})

describe("over legacy HTTP", () => {
  test("calls run side by side while questions name their call; an upstream that asks at large makes them queue", async () => {
    const open = new Map<string, (result: JsonObject) => void>()
    const script = httpScript(({ method, params }) => {
      if (method === "server/discover") throw failed("upstream_invalid", true, 404)
      if (method === "initialize") return initialized()
      const key = String((params["arguments"] as JsonObject)["text"])
      return new Promise((resolve) => open.set(key, resolve))
    })
    await using peer = await peerOver(script.dial, { clock: systemClock })
    const run = (words: string) => finish(peer, toolCall("t", { text: words }), contextFor(modernClient))
    const pair = [run("a"), run("b")]
    await eventually(() => open.size).toBe(2)
    const session = script.asked.at(-1)
    // Two calls could have caused this: it is nobody's.
    session?.receiver.message({ jsonrpc: "2.0", id: "q", method: "roots/list" }, undefined)
    for (const [key, release] of open) release(text(key))
    expect((await Promise.all(pair)).map(({ result }) => textOf(result))).toEqual(["a", "b"])
    open.clear()
    const third = run("c")
    const principal = { id: "other", kind: "anonymous", scopes: ["call"] } as const
    const fourth = finish(peer, toolCall("t", { text: "d" }), contextFor(modernClient, { principal }))
    await eventually(() => open.size).toBe(1)
    session?.receiver.message({ jsonrpc: "2.0", id: "q2", method: "roots/list" }, undefined)
    expect((await third).result).toMatchObject({
      resultType: "input_required",
      inputRequests: { ask_1: { method: "roots/list" } },
    })
    expect(open.size).toBe(1)
    peer.unpark?.((await third).result["requestState"] as string)
    await eventually(() => open.size).toBe(2)
    open.get("d")?.(text("d"))
    expect(textOf((await fourth).result)).toBe("d")
  })

  test("clients of different abilities get sessions of their own, and a lost one is renewed without doing anything twice", async () => {
    let lostDial = 0
    const script = httpScript(({ method, dial }) => {
      if (method === "server/discover") throw failed("upstream_invalid", true, 404)
      if (method === "initialize") return initialized()
      if (dial <= lostDial) throw failed("upstream_invalid", true, 404, { code: -32001, message: "Session not found" })
      return text(String(dial))
    })
    await using peer = await peerOver(script.dial)
    const run = async (client = modernClient) => textOf((await finish(peer, toolCall("t"), contextFor(client))).result)
    const asking = await run()
    const plain = await run(plainClient)
    expect(plain).not.toBe(asking)
    expect([await run(), await run(plainClient)]).toEqual([asking, plain])
    const capabilities = script.asked
      .filter(({ method }) => method === "initialize")
      .map(({ params }) => params["capabilities"])
    expect(capabilities.at(-1)).toEqual({})
    expect(capabilities.at(-2)).toEqual({ elicitation: { form: {}, url: {} }, sampling: {}, roots: {} })
    lostDial = script.dials
    const renewed = await run()
    expect(Number(renewed)).toBeGreaterThan(lostDial)
    lostDial = 1000
    await expect(run()).rejects.toMatchObject({ code: "upstream_invalid" })
  })
})
