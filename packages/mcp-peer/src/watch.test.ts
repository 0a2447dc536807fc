import type { Backend, Change, Interest, JsonObject } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, test } from "vitest"
import { peerOver, eventually } from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { discovered, failed, httpScript, initialized, type Asked, type HttpScript } from "./testing/http-script.ts"

const opened: { stop(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of opened.splice(0)) await one.stop()
})

function watching(peer: Backend, interest: Interest): { changes: Change[]; stop(): Promise<void> } {
  const abort = new AbortController()
  const changes: Change[] = []
  const reading = (async () => {
    for await (const change of peer.watch?.(interest, abort.signal) ?? []) changes.push(change)
  })()
  const one = {
    changes,
    async stop() {
      abort.abort()
      await reading
    },
  }
  opened.push(one)
  return one
}

const capabilities = { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true, listChanged: true } }

/** Accepts what it is asked for, unless told otherwise. */
function listener(accept: (filter: JsonObject) => JsonObject = (filter) => filter): HttpScript {
  return httpScript((asked) => {
    if (asked.method === "server/discover") return discovered({ capabilities })
    if (asked.method !== "subscriptions/listen") return {}
    acknowledge(asked, accept(filterOf(asked)))
    return undefined
  })
}

const filterOf = ({ params }: Asked) => params["notifications"] as JsonObject
const meta = (id: number) => ({ _meta: { "io.modelcontextprotocol/subscriptionId": id } })
function tell({ receiver, id }: Asked, method: string, params: JsonObject = {}): void {
  receiver.message({ jsonrpc: "2.0", method: `notifications/${method}`, params: { ...params, ...meta(id) } }, id)
}
const acknowledge = (asked: Asked, notifications: JsonObject) =>
  tell(asked, "subscriptions/acknowledged", { notifications })
const listens = (script: HttpScript) => script.asked.filter(({ method }) => method === "subscriptions/listen")

describe("a modern upstream", () => {
  test("is listened to once for all, over what they want together; the old stream closes after the new one stands", async () => {
    const script = listener()
    await using peer = await peerOver(script.dial)
    const first = watching(peer, { lists: true, resources: ["a:1"] })
    await eventually(() => first.changes).toEqual([{ kind: "watching", resources: ["a:1"] }])
    expect(filterOf(listens(script)[0] as Asked)).toEqual({
      toolsListChanged: true,
      resourcesListChanged: true,
      resourceSubscriptions: ["a:1"],
    })
    const second = watching(peer, { resources: ["a:1", "a:2"] })
    await eventually(() => second.changes).toEqual([{ kind: "watching", resources: ["a:1", "a:2"] }])
    const [one, two] = listens(script)
    expect(filterOf(two as Asked)["resourceSubscriptions"]).toEqual(["a:1", "a:2"])
    expect(script.abandoned).toEqual([one?.id])
    tell(two as Asked, "resources/updated", { uri: "a:2" })
    tell(two as Asked, "tools/list_changed")
    tell(two as Asked, "prompts/list_changed")
    await eventually(() => second.changes.slice(1)).toEqual([{ kind: "resource", uri: "a:2", params: { uri: "a:2" } }])
    await eventually(() => first.changes.length).toBeGreaterThan(1)
    expect(first.changes.slice(1).flatMap((change) => (change.kind === "lists" ? change.lists : []))).toEqual([
      "tools",
      "prompts",
    ])
    await second.stop()
    await eventually(() => listens(script).length).toBe(3)
    await first.stop()
    await eventually(() => script.abandoned.length).toBe(3)
  })

  test("tells which resources it took", async () => {
    const script = listener((filter) => ({ ...filter, resourceSubscriptions: ["a:1"] }))
    await using peer = await peerOver(script.dial)
    const { changes } = watching(peer, { resources: ["a:1", "b:1"] })
    await eventually(() => changes).toEqual([{ kind: "watching", resources: ["a:1"] }])
  })

  test("that breaks the stream is listened to again after a while, and what may have been missed counts as changed", async () => {
    const clock = handClock()
    const script = listener()
    await using peer = await peerOver(script.dial, { clock })
    const { changes } = watching(peer, { lists: true, resources: ["a:1"] })
    await eventually(() => changes.length).toBe(1)
    const first = listens(script)[0] as Asked
    first.receiver.ended(first.id, undefined)
    await clock.pass(100)
    expect(listens(script)).toHaveLength(1)
    await clock.pass(1000)
    expect(listens(script)).toHaveLength(2)
    await eventually(() => changes.slice(1)).toEqual([
      { kind: "lists", lists: ["tools", "resources", "prompts"] },
      { kind: "resource", uri: "a:1", params: { uri: "a:1" } },
    ])
  })

  test("is tried again with growing pauses while it does not answer", async () => {
    const clock = handClock()
    let broken = true
    const script = httpScript((asked) => {
      if (asked.method === "server/discover") return discovered({ capabilities })
      if (broken) throw failed("unavailable", true, 503)
      acknowledge(asked, {})
      return undefined
    })
    await using peer = await peerOver(script.dial, { clock })
    const { changes } = watching(peer, { lists: true })
    await eventually(() => listens(script).length).toBe(1)
    await clock.pass(30_000)
    const tries = listens(script).length
    expect(tries).toBeGreaterThan(3)
    expect(tries).toBeLessThan(9)
    expect(changes).toEqual([])
    broken = false
    await clock.pass(60_000)
    expect(changes[0]).toEqual({ kind: "watching", resources: [] })
  })

  test("without anything to announce is not bothered; a watcher begins all the same, and ends with the backend", async () => {
    const script = httpScript(() => discovered({ capabilities: { tools: {} } }))
    const peer = await peerOver(script.dial)
    const { changes } = watching(peer, { lists: true, resources: ["a:1"] })
    await eventually(() => changes).toEqual([{ kind: "watching", resources: [] }])
    await peer[Symbol.asyncDispose]()
    await eventually(() => changes.at(-1)).toMatchObject({ kind: "exit" })
    expect(listens(script)).toEqual([])
  })
})

describe("a legacy upstream", () => {
  test("has resources subscribed once however many watch, again after a lost session, and let go by the last", async () => {
    const clock = handClock()
    let lost = 0
    const script = httpScript(({ method, dial }) => {
      if (method === "server/discover") throw failed("upstream_invalid", true, 404)
      if (method === "initialize") return initialized({ capabilities })
      if (dial <= lost) throw failed("upstream_invalid", true, 404)
      return {}
    })
    const by = (method: string) =>
      script.asked.filter((asked) => asked.method === method).map(({ params }) => params["uri"])
    await using peer = await peerOver(script.dial, { clock })
    const first = watching(peer, { lists: true, resources: ["a:1"] })
    const second = watching(peer, { resources: ["a:1", "a:2"] })
    await eventually(() => second.changes.length).toBe(1)
    await eventually(() => first.changes.length).toBe(1)
    expect(by("resources/subscribe").sort()).toEqual(["a:1", "a:2"])
    await second.stop()
    await eventually(() => by("resources/unsubscribe")).toEqual(["a:2"])
    lost = script.dials
    await peer.probe?.(new AbortController().signal)
    await clock.pass(1000)
    expect(by("resources/subscribe").sort()).toEqual(["a:1", "a:1", "a:2"])
    await eventually(() => first.changes.length).toBe(3)
    await first.stop()
    await eventually(() => by("resources/unsubscribe")).toEqual(["a:2", "a:1"])
  })
})
