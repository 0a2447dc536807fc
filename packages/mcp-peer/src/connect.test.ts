import { silentLog, type ClarityError, type ProtocolVerdict } from "@clarity-runtime/contracts"
import { describe, expect, test } from "vitest"
import { createPeer } from "./peer.ts"
import {
  contextFor,
  finish,
  legacyClient,
  modernClient,
  peerOver,
  serviceWith,
  toolCall,
  type EraSetting,
  eventually,
} from "./testing/calls.ts"
import { handClock } from "./testing/clock.ts"
import { discovered, failed, httpScript, initialized, type HttpScript } from "./testing/http-script.ts"
import { httpTo } from "./testing/http.ts"
import { hear, pipeTo, rpcError, scripted } from "./testing/pipe.ts"
import { httpV2, newSeen, serveV2 } from "./testing/servers.ts"

const never = new AbortController().signal
const verdictOf = async (peer: Awaited<ReturnType<typeof peerOver>>) => (await peer.describe(never)).protocol?.eras

describe("on a pipe", () => {
  test("silence means legacy, on the same connection", async () => {
    const clock = handClock()
    const pipe = pipeTo(
      scripted(({ method }) => (method === "initialize" ? initialized({ capabilities: {} }) : undefined)),
    )
    const opening = peerOver(pipe.dial, { clock })
    await eventually(() => pipe.sent.length).toBe(1)
    await clock.pass(3000)
    await using peer = await opening
    expect(await verdictOf(peer)).toEqual(["legacy"])
    expect(pipe.dials).toBe(1)
  })

  test("a server slow to start is still found modern when it refuses the handshake", async () => {
    const clock = handClock()
    const held: (() => void)[] = []
    const pipe = pipeTo((end) => {
      hear(end, (message) => {
        held.push(() => {
          const { id, method } = message
          if (method === "server/discover")
            void end.send({ jsonrpc: "2.0", id, result: discovered({ capabilities: {} }) })
          else void end.send({ jsonrpc: "2.0", id, error: { code: -32022, message: "modern only" } })
        })
      })
    })
    const opening = peerOver(pipe.dial, { clock })
    await eventually(() => held.length).toBe(1)
    await clock.pass(3000)
    await eventually(() => held.length).toBe(2)
    for (const release of held) release()
    await using peer = await opening
    held.length = 0
    const described = peer.describe(never)
    await eventually(() => held.length).toBe(1)
    for (const release of held) release()
    expect((await described).protocol?.eras).toEqual(["modern"])
  })

  test("a server that leaves over the probe is dialled again and shaken hands with", async () => {
    const pipe = pipeTo((end, dials) =>
      scripted(({ method }) => {
        if (dials === 1) return void end.close()
        return method === "initialize" ? initialized({ capabilities: {} }) : {}
      })(end),
    )
    await using peer = await peerOver(pipe.dial)
    expect([await verdictOf(peer), pipe.dials]).toEqual([["legacy"], 2])
  })

  test("a modern-only server is found, a legacy caller notwithstanding", async () => {
    const seen = newSeen()
    await using peer = await peerOver(pipeTo(serveV2(seen, "reject")).dial)
    expect(await verdictOf(peer)).toEqual(["modern"])
    await finish(peer, toolCall("echo"), contextFor(legacyClient))
    expect(seen.calls).toBe(1)
  })

  test("era: legacy does not probe; era: modern takes nothing else", async () => {
    const pipe = pipeTo(scripted(({ method }) => (method === "initialize" ? initialized() : undefined)))
    await using _peer = await peerOver(pipe.dial, { era: "legacy" })
    expect(pipe.sent.map(({ method }) => method)).toEqual(["initialize", "notifications/initialized"])
    const old = pipeTo(
      scripted(() => {
        throw rpcError(-32601, "no")
      }),
    )
    await expect(peerOver(old.dial, { era: "modern" })).rejects.toMatchObject({ code: "version_unsupported" })
  })

  test("a handshake in a version nobody knows is refused", async () => {
    const pipe = pipeTo(
      scripted(({ method }) => (method === "initialize" ? initialized({ protocolVersion: "1999-01-01" }) : undefined)),
    )
    await expect(peerOver(pipe.dial, { era: "legacy" })).rejects.toMatchObject({ code: "version_unsupported" })
  })

  test("giving up while connecting leaves nothing open", async () => {
    let closed = false
    const pipe = pipeTo((end) => {
      Object.assign(end, { onclose: () => (closed = true) })
    })
    const abort = new AbortController()
    const options = { service: serviceWith(), dial: pipe.dial, clock: handClock(), log: silentLog }
    const opening = createPeer(options, abort.signal)
    await eventually(() => pipe.sent.length).toBe(1)
    abort.abort()
    await expect(opening).rejects.toMatchObject({ code: "cancelled" })
    expect(closed).toBe(true)
  })
})

/** An HTTP upstream of either or both eras. */
function http(refusal: (() => unknown) | undefined, legacy = true): HttpScript {
  return httpScript(({ method }) => {
    if (method === "server/discover") {
      if (refusal) throw refusal()
      return discovered({ capabilities: {} })
    }
    if (method === "initialize") {
      if (!legacy) throw failed("upstream_invalid", true, 404)
      return initialized({ capabilities: {} })
    }
    return { content: [] }
  })
}

describe("over HTTP", () => {
  test.each<[string, () => unknown]>([
    ["404", () => failed("upstream_invalid", true, 404)],
    ["405", () => failed("upstream_invalid", true, 405)],
    [
      "400 without a modern error",
      () => failed("upstream_invalid", true, 400, { code: -32000, message: "no session" }),
    ],
    ["500", () => failed("unavailable", true, 500)],
    ["a page", () => failed("upstream_invalid", true, 200)],
    ["silence", () => failed("upstream_timeout", true)],
    ["method not found", () => rpcError(-32601, "no")],
    ["-32022 naming only older versions", () => rpcError(-32022, "no", { supported: ["2025-11-25"] })],
  ])("%s to discovery means legacy", async (_what, refusal) => {
    await using peer = await peerOver(http(refusal).dial)
    expect(await verdictOf(peer)).toEqual(["legacy"])
  })

  test("refused credentials and a closed port say nothing about the era and end the attempt", async () => {
    const locked = http(() => failed("upstream_unauthorized", true, 401))
    await expect(peerOver(locked.dial)).rejects.toMatchObject({ code: "upstream_unauthorized" })
    const closed = http(() => failed("unavailable", false))
    await expect(peerOver(closed.dial)).rejects.toMatchObject({ code: "unavailable" })
    expect([...locked.asked, ...closed.asked].map(({ method }) => method)).toEqual([
      "server/discover",
      "server/discover",
    ])
    expect([locked.dials - locked.disposed, closed.dials - closed.disposed]).toEqual([0, 0])
  })

  test("an upstream that is no MCP server is told with the status it answered", async () => {
    const { failureOf } = await import("./index.ts")
    const thrown = await peerOver(http(() => failed("upstream_invalid", true, 404), false).dial).catch(
      (error: ClarityError) => error,
    )
    expect(failureOf(thrown)?.status).toBe(404)
  })

  test("match speaks the caller's era to a server that has both, on connections of their own", async () => {
    const seen = newSeen()
    await using server = await httpV2(seen, "both")
    const dial = httpTo(server.url)
    await using peer = await peerOver(dial.dial)
    await finish(peer, toolCall("echo"), contextFor(modernClient))
    expect(seen.sessions).toBe(0)
    await finish(peer, toolCall("echo"), contextFor(legacyClient))
    await finish(peer, toolCall("echo"), contextFor(legacyClient))
    expect(seen.sessions).toBe(1)
    expect(await verdictOf(peer)).toEqual(["modern", "legacy"])
    const versions = dial.requests
      .filter(({ body }) => body?.["method"] === "tools/call")
      .map(({ headers }) => headers["mcp-protocol-version"])
    expect(versions).toEqual(["2026-07-28", "2025-11-25", "2025-11-25"])
  })

  test("match tries the older era once and remembers that there is none; auto does not try", async () => {
    for (const [era, initializes] of [
      ["match", 1],
      ["auto", 0],
    ] as [EraSetting, number][]) {
      const script = http(undefined, false)
      await using peer = await peerOver(script.dial, { era })
      for (let round = 0; round < 3; round++) await finish(peer, toolCall("echo"), contextFor(legacyClient))
      expect(script.asked.filter(({ method }) => method === "initialize")).toHaveLength(initializes)
      expect(script.asked.filter(({ method }) => method === "tools/call")).toHaveLength(3)
    }
  })

  test("a remembered verdict saves the probe for a day, and is corrected when wrong", async () => {
    const clock = handClock()
    const open = (script: HttpScript, remembered: ProtocolVerdict) =>
      createPeer({ service: serviceWith(), dial: script.dial, clock, log: silentLog, remembered }, never)
    const old = { eras: ["legacy"], version: "2025-11-25", checkedAt: clock.now() } as const

    const both = http(undefined)
    await using trusting = await open(both, old)
    expect(both.asked.map(({ method }) => method)).toEqual(["initialize"])
    await clock.pass(25 * 60 * 60 * 1000)
    expect(await verdictOf(trusting)).toContain("modern")

    const stale = http(undefined)
    await using _doubting = await open(stale, old)
    expect(stale.asked[0]?.method).toBe("server/discover")

    const changed = http(undefined, false)
    await using corrected = await open(changed, { ...old, checkedAt: clock.now() })
    expect(await verdictOf(corrected)).toEqual(["modern"])
  })

  test.each([
    ["-32022", () => rpcError(-32022, "gone", { supported: ["2025-11-25"] })],
    ["404", () => failed("upstream_invalid", true, 404)],
  ])(
    "a modern server that turned legacy is found out by its %s, and the call is made again",
    async (_what, refusal) => {
      let modern = true
      const script = httpScript(({ method, version }) => {
        if (method === "initialize") return initialized({ capabilities: {} })
        if (method === "server/discover" && modern) return discovered()
        if (version === "2026-07-28" && !modern) throw refusal()
        return { content: [{ type: "text", text: "ok" }] }
      })
      await using peer = await peerOver(script.dial)
      modern = false
      const { result } = await finish(peer, toolCall("echo"), contextFor(modernClient))
      expect(result["content"]).toHaveLength(1)
      expect(await verdictOf(peer)).toEqual(["legacy"])
    },
  )
})
