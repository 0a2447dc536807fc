import type { JsonObject } from "@clarity-runtime/contracts"
import { describe, expect, test } from "vitest"
import { contextFor, finish, modernClient, peerOver, textOf, toolCall, eventually } from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { discovered, failed, httpScript } from "./testing/http-script.ts"

const text = (words: string): JsonObject => ({ content: [{ type: "text", text: words }] })
const tools = [
  { name: "safe", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
  { name: "pay", inputSchema: { type: "object" } },
]

/** A peer that repeats twice, on an upstream whose first calls fail as told. */
async function failing(...failures: Error[]) {
  const clock = handClock()
  const script = httpScript(({ method }) => {
    if (method === "server/discover") return discovered()
    if (method === "tools/list") return { tools }
    const failure = failures.shift()
    if (failure) throw failure
    return text("in the end")
  })
  const peer = await peerOver(script.dial, { clock, retries: { max: 2, backoffMs: 150 } })
  await peer.describe(new AbortController().signal)
  const called = () => script.asked.filter(({ method }) => method === "tools/call").length
  return { clock, peer, called }
}

describe("repetitions an operator asked for", () => {
  test.each([500, 502, 503, 504])("a reading call is made again after HTTP %s, each time later", async (status) => {
    const { clock, peer, called } = await failing(
      failed("upstream_invalid", true, status),
      failed("unavailable", true, status),
    )
    const call = finish(peer, toolCall("safe"), contextFor(modernClient))
    await eventually(called).toBe(1)
    await clock.pass(149)
    expect(called()).toBe(1)
    await clock.pass(1)
    expect(called()).toBe(2)
    await clock.pass(300)
    expect(textOf((await call).result)).toBe("in the end")
    await peer[Symbol.asyncDispose]()
  })

  test("no oftener than that, and the last failure is told", async () => {
    const { clock, peer, called } = await failing(...Array.from({ length: 4 }, () => failed("unavailable", true, 503)))
    const call = finish(peer, toolCall("safe"), contextFor(modernClient)).catch((thrown: unknown) => thrown)
    await eventually(called).toBe(1)
    await clock.pass(60_000)
    expect(await call).toMatchObject({ code: "unavailable" })
    expect(called()).toBe(3)
    await peer[Symbol.asyncDispose]()
  })

  test.each([
    ["a call that may have done something", "pay", failed("unavailable", true, 503)],
    ["a refusal", "safe", failed("upstream_invalid", true, 400)],
    ["a service that has enough", "safe", failed("rate_limited", true, 429)],
  ])("not of %s", async (_what, tool, failure) => {
    const { clock, peer, called } = await failing(failure)
    const call = finish(peer, toolCall(tool), contextFor(modernClient)).catch((thrown: unknown) => thrown)
    await eventually(called).toBe(1)
    await clock.pass(60_000)
    expect(await call).toHaveProperty("code")
    expect(called()).toBe(1)
    await peer[Symbol.asyncDispose]()
  })

  test("any call of which nothing was sent is made again, beyond the two times it always is", async () => {
    const unsent = Array.from({ length: 4 }, () => failed("unavailable", false))
    const { clock, peer } = await failing(...unsent)
    const call = finish(peer, toolCall("pay"), contextFor(modernClient))
    await clock.pass(10_000)
    expect(textOf((await call).result)).toBe("in the end")
    await peer[Symbol.asyncDispose]()
  })
})
