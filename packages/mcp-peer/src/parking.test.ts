import type { Backend, ClientProfile, JsonObject, McpResult } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, test } from "vitest"
import {
  contextFor,
  finish,
  legacyClient,
  modernClient,
  peerOver,
  plainClient,
  textOf,
  toolCall,
} from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { failed, httpScript, initialized } from "./testing/http-script.ts"
import { hear, pipeTo, rpcError, scripted, type PipeDial, type ServerEnd } from "./testing/pipe.ts"
import { newSeen, serveV1 } from "./testing/servers.ts"

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of opened.splice(0)) await one[Symbol.asyncDispose]()
})

type Message = JsonObject & { id?: number; method: string; params: JsonObject }

/** A legacy pipe server under the test's hand. */
async function byHand(
  call: (message: Message, end: ServerEnd) => unknown,
  clock = handClock(),
): Promise<{ peer: Backend; pipe: PipeDial; clock: ReturnType<typeof handClock> }> {
  const pipe = pipeTo(
    scripted((message, end) => {
      if (message.method === "initialize") return initialized()
      if (message.method === "tools/call") return call(message, end)
      if (message.method === "ping") return {}
      if (message.id !== undefined && message.method) throw rpcError(-32601, "no")
      return undefined
    }),
  )
  const peer = await peerOver(pipe.dial, { clock })
  opened.push(peer)
  return { peer, pipe, clock }
}

async function real(): Promise<Backend> {
  const peer = await peerOver(pipeTo(serveV1(newSeen())).dial)
  opened.push(peer)
  return peer
}

const stateOf = (result: McpResult) => result["requestState"] as string
const keysOf = (result: McpResult) => Object.keys(result["inputRequests"] as JsonObject)
const answer = (result: McpResult, words: string) => ({
  requestState: stateOf(result),
  inputResponses: Object.fromEntries(
    keysOf(result).map((key) => [key, { action: "accept", content: { name: words } }]),
  ),
})
const ask = (id: string, more: JsonObject = {}) => ({
  jsonrpc: "2.0",
  id,
  method: "elicitation/create",
  params: { message: id, requestedSchema: { type: "object", properties: {} }, _meta: { progressToken: 9 }, ...more },
})
const text = (words: string): JsonObject => ({ content: [{ type: "text", text: words }] })

describe("a parked call", () => {
  test("asks as often as the upstream does, each time under a new handle", async () => {
    const peer = await real()
    const first = await finish(peer, toolCall("ask", { twice: true }), contextFor(modernClient))
    const second = await finish(
      peer,
      toolCall("ask", { twice: true }, {}, answer(first.result, "Ada")),
      contextFor(modernClient),
    )
    expect(second.result["resultType"]).toBe("input_required")
    expect(stateOf(second.result)).not.toBe(stateOf(first.result))
    const third = await finish(
      peer,
      toolCall("ask", { twice: true }, {}, answer(second.result, "Bob")),
      contextFor(modernClient),
    )
    expect(textOf(third.result)).toMatch(/Ada.*Bob/)
  })

  test("is resumed once, by its own principal, for its own tool", async () => {
    const peer = await real()
    const { result } = await finish(peer, toolCall("ask"), contextFor(modernClient))
    expect(peer.parks?.(stateOf(result))).toBe(true)
    const more = answer(result, "Ada")
    const stranger = { id: "stranger", kind: "token", scopes: ["call"] } as const
    const wrong = { code: "invalid_params" }
    await expect(
      finish(peer, toolCall("ask", {}, {}, more), contextFor(modernClient, { principal: stranger })),
    ).rejects.toMatchObject(wrong)
    await expect(finish(peer, toolCall("echo", {}, {}, more), contextFor(modernClient))).rejects.toMatchObject(wrong)
    const bad = { ...more, inputResponses: { x: 1 } }
    await expect(finish(peer, toolCall("ask", {}, {}, bad), contextFor(modernClient))).rejects.toMatchObject(wrong)
    expect(textOf((await finish(peer, toolCall("ask", {}, {}, more), contextFor(modernClient))).result)).toContain(
      "Ada",
    )
    await expect(finish(peer, toolCall("ask", {}, {}, more), contextFor(modernClient))).rejects.toMatchObject({
      ...wrong,
      data: { reason: "request_state_unknown" },
    })
  })

  test("survives the end of the request that began it, and is asked again for what is missing", async () => {
    const { peer, pipe } = await byHand(async ({ id }, end) => {
      await end.send(ask("one"))
      await end.send(ask("two"))
      tally(pipe.end, (answers) => {
        if (answers.size === 2) void end.send({ jsonrpc: "2.0", id, result: text([...answers.keys()].join()) })
      })
      return undefined
    })
    const abort = new AbortController()
    const first = await finish(peer, toolCall("a"), contextFor(modernClient, { signal: abort.signal }))
    abort.abort()
    const [one, two] = keysOf(first.result)
    expect(JSON.stringify(first.result)).not.toContain("progressToken")
    const half = {
      requestState: stateOf(first.result),
      inputResponses: { [two as string]: { action: "decline" }, other: {} },
    }
    const second = await finish(peer, toolCall("a", {}, {}, half), contextFor(modernClient))
    expect(keysOf(second.result)).toEqual([one])
    const rest = { requestState: stateOf(second.result), inputResponses: { [one as string]: { action: "decline" } } }
    expect(textOf((await finish(peer, toolCall("a", {}, {}, rest), contextFor(modernClient))).result)).toBe("two,one")
    expect(pipe.sent.some(({ method }) => method === "notifications/cancelled")).toBe(false)
  })

  test("puts questions together that were asked in one breath and arrived in pieces", async () => {
    const { peer } = await byHand(async (_message, end) => {
      for (const id of ["one", "two", "three"]) {
        await end.send(ask(id))
        for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
      }
      return undefined
    })
    const { result } = await finish(peer, toolCall("a"), contextFor(modernClient))
    expect(keysOf(result)).toHaveLength(3)
  })

  test("keeps what came meanwhile, bounded, and gives it under the new progress token", async () => {
    const { peer, pipe } = await byHand(async ({ id }, end) => {
      await end.send(ask("one"))
      tally(pipe.end, () => void end.send({ jsonrpc: "2.0", id, result: text("end") }))
      return undefined
    })
    const first = await finish(peer, toolCall("a", {}, { progressToken: "old" }), contextFor(modernClient))
    const token = pipe.sent.find(({ method }) => method === "tools/call")?.["id"]
    for (let progress = 1; progress <= 3000; progress++)
      await pipe.end.send({
        jsonrpc: "2.0",
        method: "notifications/progress",
        params: { progressToken: token, progress },
      })
    const call = toolCall("a", {}, { progressToken: "new" }, answer(first.result, "x"))
    const second = await finish(peer, call, contextFor(modernClient))
    expect(textOf(second.result)).toBe("end")
    expect(second.notifications.length).toBeLessThanOrEqual(1024)
    expect(second.notifications.at(-1)?.params).toEqual({ progressToken: "new", progress: 3000 })
  })

  test("is cancelled upstream when nobody comes for ten minutes, or when given up", async () => {
    const { peer, pipe, clock } = await byHand(async (_message, end) => void (await end.send(ask("one"))))
    const cancels = () => pipe.sent.filter(({ method }) => method === "notifications/cancelled").length
    const first = await finish(peer, toolCall("a"), contextFor(modernClient))
    await clock.pass(9 * 60 * 1000)
    expect([cancels(), peer.parks?.(stateOf(first.result))]).toEqual([0, true])
    await clock.pass(61 * 1000)
    expect([cancels(), peer.parks?.(stateOf(first.result))]).toEqual([1, false])
    const second = await finish(peer, toolCall("a"), contextFor(modernClient))
    peer.unpark?.(stateOf(second.result))
    expect([cancels(), peer.parks?.(stateOf(second.result))]).toEqual([2, false])
  })

  test("has 64 places at one upstream; the next is refused and cancelled", async () => {
    let dials = 0
    const script = httpScript(({ method, receiver, id }) => {
      if (method === "server/discover") throw failed("upstream_invalid", true, 404)
      if (method === "initialize") return initialized()
      receiver.message(ask(`q${++dials}`), id)
      return undefined
    })
    const peer = await peerOver(script.dial)
    opened.push(peer)
    for (let number = 0; number < 64; number++) await finish(peer, toolCall("a"), contextFor(modernClient))
    await expect(finish(peer, toolCall("a"), contextFor(modernClient))).rejects.toMatchObject({ code: "rate_limited" })
    expect(script.abandoned).toHaveLength(1)
  })

  test("that the upstream ended by itself gives that answer when resumed", async () => {
    const { peer, pipe } = await byHand(async (_message, end) => void (await end.send(ask("one"))))
    const { result } = await finish(peer, toolCall("a"), contextFor(modernClient))
    const id = pipe.sent.find(({ method }) => method === "tools/call")?.["id"]
    await pipe.end.send({ jsonrpc: "2.0", id, result: text("too slow") })
    const second = await finish(peer, toolCall("a", {}, {}, answer(result, "x")), contextFor(modernClient))
    expect(textOf(second.result)).toBe("too slow")
  })
})

describe("a client that cannot be asked", () => {
  const cases: [string, ClientProfile][] = [
    ["a modern one gets -32021 with what is required", plainClient],
    ["a legacy one gets a result it can read", { ...legacyClient, capabilities: {} }],
  ]
  // On a pipe the question is only ever put to a call that can be asked; so the client here can, but not that.
  const sampling = { sampling: {} }

  test.each(cases)("%s when the call fails for it", async (_what, client) => {
    const peer = await real()
    const outcome = finish(peer, toolCall("ask"), contextFor({ ...client, capabilities: sampling }))
    if (client.era === "modern")
      await expect(outcome).rejects.toMatchObject({
        code: "capability_missing",
        data: { requiredCapabilities: { elicitation: { form: {} } } },
      })
    else
      expect((await outcome).result).toMatchObject({
        isError: true,
        content: [{ text: expect.stringContaining("elicitation") }],
      })
  })

  test("gets the answer of an upstream that manages without", async () => {
    const { peer, pipe } = await byHand(async ({ id }, end) => {
      await end.send(ask("one"))
      tally(pipe.end, () => void end.send({ jsonrpc: "2.0", id, result: text("without") }))
      return undefined
    })
    const { result } = await finish(peer, toolCall("a"), contextFor({ ...modernClient, capabilities: sampling }))
    expect(textOf(result)).toBe("without")
    expect(pipe.sent).toContainEqual(
      expect.objectContaining({ id: "one", error: expect.objectContaining({ code: -32601 }) }),
    )
  })

  test("is not kept waiting by an upstream that will not take no", async () => {
    const { peer, pipe } = await byHand(async (_message, end) => {
      for (let round = 0; round < 9; round++) await end.send(ask(`q${round}`))
    })
    await expect(
      finish(peer, toolCall("a"), contextFor({ ...modernClient, capabilities: sampling })),
    ).rejects.toMatchObject({
      code: "capability_missing",
    })
    expect(pipe.sent.some(({ method }) => method === "notifications/cancelled")).toBe(true)
  })
})

describe("pages to open (-32042)", () => {
  test("become url questions for a modern client, and the call is made again afterwards", async () => {
    const peer = await real()
    const { result } = await finish(peer, toolCall("ask_url"), contextFor(modernClient))
    const [key] = keysOf(result)
    expect(result).toEqual({
      resultType: "input_required",
      inputRequests: {
        [key as string]: {
          method: "elicitation/create",
          params: { mode: "url", message: "open", url: "https://page.test/" },
        },
      },
    })
    const again = toolCall("ask_url", {}, {}, { inputResponses: { [key as string]: { action: "accept" } } })
    expect((await finish(peer, again, contextFor(modernClient))).result["resultType"]).toBe("input_required")
    const declined = toolCall("ask_url", {}, {}, { inputResponses: { [key as string]: { action: "decline" } } })
    await expect(finish(peer, declined, contextFor(modernClient))).rejects.toMatchObject({ rpc: { code: -32602 } })
  })

  test("are passed on to a legacy client, and cannot be asked of one without url mode", async () => {
    const peer = await real()
    await expect(finish(peer, toolCall("ask_url"), contextFor(legacyClient))).rejects.toMatchObject({
      rpc: { code: -32042 },
    })
    await expect(finish(peer, toolCall("ask_url"), contextFor(plainClient))).rejects.toMatchObject({
      code: "capability_missing",
    })
  })
})

/** Goes on serving a scripted end while collecting the answers to its questions. */
function tally(end: ServerEnd, onAnswer: (answers: Map<string, unknown>) => void): void {
  const before = end.onmessage as unknown as (message: JsonObject) => void
  const answers = new Map<string, unknown>()
  hear(end, (message) => {
    if (message.method !== undefined) return before(message)
    answers.set(String(message["id"]), message["result"] ?? message["error"])
    onAnswer(answers)
  })
}
