import { manualClock, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { admin, served } from "../../test/serve.ts"
import { countStreams, eventStream } from "./stream.ts"

/** Reads a response chunk by chunk as text. */
function chunksOf(response: Response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  return {
    next: async () => (await reader?.read())?.value,
    cancel: async () => reader?.cancel(),
  }
}

describe("a stream", () => {
  it("sends headers and a comment before anything happens", async () => {
    const { context } = fakeContext()
    const response = await served(context)("GET", "/api/events")
    const chunks = chunksOf(response)
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8")
    expect(await chunks.next()).toBe(": open\n\n")
    await chunks.cancel()
  })

  it("lets go of its source when the reader hangs up", async () => {
    const { context, timeline } = fakeContext()
    const chunks = chunksOf(await served(context)("GET", "/api/events"))
    await chunks.next()
    const waiting = chunks.next()
    await new Promise((resolve) => setImmediate(resolve))
    expect(timeline.followers).toBe(1)
    await chunks.cancel()
    await waiting
    expect(timeline.followers).toBe(0)
  })

  it("ends when the program is about to stop, and so does one that is opened then", async () => {
    const { context, timeline } = fakeContext()
    const closing = new AbortController()
    const ask = served({ ...context, closing: closing.signal })
    const response = await ask("GET", "/api/events")
    setImmediate(() => closing.abort())
    expect(await response.text()).toBe(": open\n\n")
    expect(await (await ask("GET", "/api/events")).text()).toBe(": open\n\n")
    await expect.poll(() => timeline.followers).toBe(0)
  })

  it("ends at once when its reader's token is revoked, and when its time is over", async () => {
    const { context, timeline, clock } = fakeContext()
    const revoking = new AbortController()
    const revoked = await served(context, { ...admin, ends: revoking.signal })("GET", "/api/events")
    const expiring = await served(context, { ...admin, expiresAt: clock.now() + 20 })("GET", "/api/events")
    setImmediate(() => revoking.abort())
    expect(await revoked.text()).toBe(": open\n\n")
    expect(await expiring.text()).toBe(": open\n\n")
    const late = await served(context, { ...admin, ends: revoking.signal })("GET", "/api/events")
    expect(await late.text()).toBe(": open\n\n")
    await expect.poll(() => timeline.followers).toBe(0)
  })

  it("gives history oldest first, then what happens, each once, in order", async () => {
    const { context, timeline } = fakeContext()
    for (const message of ["a", "b", "c"]) timeline.record({ kind: "x", level: "info", message })
    const chunks = chunksOf(await served(context)("GET", "/api/events?limit=2"))
    expect(await chunks.next()).toBe(": open\n\n")
    expect(await chunks.next()).toMatch(/^id: 2\ndata: \{"seq":2,.*"message":"b"\}\n\n$/)
    timeline.record({ kind: "x", level: "info", message: "d\nnext line" })
    expect(await chunks.next()).toMatch(/^id: 3\n/)
    expect(await chunks.next()).toMatch(/^id: 4\ndata: [^\n]+d\\nnext line"\}\n\n$/)
    await chunks.cancel()
  })

  it("goes on after the event seen last", async () => {
    const { context, timeline } = fakeContext()
    for (const message of ["a", "b", "c"]) timeline.record({ kind: "x", level: "info", message })
    const chunks = chunksOf(await served(context)("GET", "/api/events", undefined, { "last-event-id": "2" }))
    await chunks.next()
    expect(await chunks.next()).toMatch(/^id: 3\n/)
    await chunks.cancel()
  })

  it("keeps a silent stream alive with comments", async () => {
    const clock = manualClock()
    const never = new Promise<never>(() => {})
    const chunks = chunksOf(
      eventStream(
        { clock },
        admin,
        () => ({ next: () => never }),
        () => {},
      ),
    )
    await chunks.next()
    const ping = chunks.next()
    await clock.sleeping()
    await clock.advance(15_000)
    expect(await ping).toBe(": ping\n\n")
  })

  it("takes no more from its source than the reader reads", async () => {
    let taken = 0
    const source = { next: async () => ({ value: { data: { text: "x".repeat(3000), n: ++taken } } }) }
    const response = eventStream(
      { clock: manualClock() },
      admin,
      () => source,
      () => {},
    )
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(taken).toBeLessThan(30)
    await response.body?.cancel()
  })

  it("sends a long event short and says so", async () => {
    const { context, timeline } = fakeContext()
    timeline.record({ kind: "x", level: "info", message: "y".repeat(5000), data: { z: "z".repeat(5000) } })
    const chunks = chunksOf(await served(context)("GET", "/api/events"))
    await chunks.next()
    const event = (await chunks.next()) ?? ""
    expect(event.length).toBeLessThan(4096)
    expect(event).toContain('"truncated":true')
    await chunks.cancel()
  })

  it("follows one service's log on the path of its logs", async () => {
    const { context, registry, timeline } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    timeline.logOf(id).write("stderr", "one")
    const ask = served(context)
    expect((await ask("GET", "/api/services/svc_none/logs?follow=1")).status).toBe(404)
    const chunks = chunksOf(
      await ask("GET", `/api/services/${id}/logs?limit=5`, undefined, { accept: "text/event-stream" }),
    )
    await chunks.next()
    expect(await chunks.next()).toMatch(/^data: \{.*"stream":"stderr","text":"one"\}\n\n$/)
    timeline.logOf("svc_other").write("stderr", "not mine")
    timeline.logOf(id).write("stdout", "two")
    expect(await chunks.next()).toMatch(/"text":"two"/)
    await chunks.cancel()
    const listed = await ask("GET", `/api/services/${id}/logs?limit=1`)
    expect(listed.headers.get("content-type")).toMatch(/json/)
    expect(await listed.json()).toMatchObject({ serviceId: id, items: [{ text: "two" }] })
  })
})

describe("the number of streams", () => {
  it("is bounded for each and for all, and a place is given back once", () => {
    const count = countStreams(3, 2)
    const leave = count.enter("a")
    count.enter("a")
    expect(() => count.enter("a")).toThrow("too many streams are open (2)")
    count.enter("b")
    expect(() => count.enter("c")).toThrow("too many streams are open (3)")
    leave()
    leave()
    count.enter("c")
    expect(() => count.enter("d")).toThrow("too many streams")
  })

  it("is told by the route as 429", async () => {
    const { context } = fakeContext()
    const ask = served(context)
    const open = await Promise.all(Array.from({ length: 16 }, () => ask("GET", "/api/events")))
    const refused = await ask("GET", "/api/events")
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"])
    await open[0]?.body?.cancel()
    const again = await ask("GET", "/api/events")
    expect(again.status).toBe(200)
    for (const response of [again, ...open.slice(1)]) await response.body?.cancel()
  })
})
