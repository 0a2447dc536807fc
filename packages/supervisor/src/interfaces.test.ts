import { ClarityError } from "@clarity-runtime/contracts"
import { fakeBackend, remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { caller, supervised, workshop } from "../test/harness.ts"

const tool = (name: string, title = name) => ({ name, title, inputSchema: { type: "object" } })

describe("interfaces", () => {
  test("the same interface keeps its revision and is not written again; a changed one is told with its diff", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const { backend } = house.shop.latest()
    const before = house.view()
    expect(house.registry.stored).toHaveLength(1)
    backend.emit({ kind: "lists", lists: ["tools"] })
    await house.clock.advance(250)
    expect(house.view()?.revision).toBe(before?.revision)
    expect(house.view()?.interface).toBe(before?.interface)
    expect(house.registry.stored).toHaveLength(1)
    expect(house.count("service.interface_refreshed")).toBe(1)

    backend.become({ tools: [tool("added")] })
    backend.emit({ kind: "lists", lists: ["tools"] })
    backend.emit({ kind: "lists", lists: ["tools"] })
    await house.clock.advance(60_000)
    expect(house.view()?.interface?.tools).toEqual([tool("added")])
    expect(house.registry.stored).toHaveLength(2)
    const told = house.telemetry.events.findLast(({ kind }) => kind === "service.interface_refreshed")
    expect(told?.data).toMatchObject({ added: ["tool:added"], removed: ["tool:echo"], changed: [] })
  })

  test("introspect asks anew, stores, and gives the diff", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    house.shop.latest().backend.become({ tools: [tool("echo", "another title"), tool("more")] })
    const first = await house.supervisor.introspect(house.id)
    expect(first.diff).toEqual({ added: ["tool:more"], removed: [], changed: ["tool:echo"] })
    const second = await house.supervisor.introspect(house.id)
    expect(second.revision).toBe(first.revision)
    expect(second.diff).toEqual({ added: [], removed: [], changed: [] })
    expect(house.view()?.revision).toBe(first.revision)
  })

  test("an operator's start is answered when the interface is stored", async () => {
    await using house = supervised([stdioManifest({ spec: { autostart: false } })])
    const storing = Promise.withResolvers<void>()
    const { storeInterface } = house.registry
    Object.assign(house.registry, {
      async storeInterface(...args: Parameters<typeof storeInterface>) {
        await storing.promise
        return storeInterface(...args)
      },
    })
    let answered = false
    const start = house.supervisor.start(house.id).then(() => (answered = true))
    await house.turn()
    expect(house.view()?.lifecycle).toBe("RUNNING")
    expect(answered).toBe(false)
    storing.resolve()
    await start
    expect(house.registry.stored).toHaveLength(1)
  })

  test("introspecting what cannot be asked is unavailable, with the state", async () => {
    await using house = supervised([stdioManifest()])
    await house.supervisor.stop(house.id)
    await expect(house.supervisor.introspect(house.id)).rejects.toMatchObject({
      code: "unavailable",
      data: { state: "STOPPED" },
    })
    await expect(house.supervisor.introspect("svc_nobody")).rejects.toMatchObject({ code: "not_found" })
  })

  test("an upstream that never stops changing is asked ever more rarely", async () => {
    const shop = workshop()
    let asked = 0
    shop.open = async () => {
      const backend = fakeBackend()
      return Object.assign(backend, {
        describe: async () => {
          asked += 1
          backend.emit({ kind: "lists", lists: ["tools"] })
          return { ...backend.interface, tools: [tool(`t${asked}`)] }
        },
      })
    }
    await using house = supervised([stdioManifest()], { shop })
    await house.clock.advance(600_000)
    expect(asked).toBeGreaterThan(10)
    expect(asked).toBeLessThan(40)
  })

  test("a registry that cannot write hides nothing from calls", async () => {
    const house = supervised([stdioManifest()])
    house.registry.failWith = new ClarityError("storage_error", "disk full")
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    expect(house.telemetry.lines.join("\n")).toContain("disk full")
    await house[Symbol.asyncDispose]()
  })

  test("items left out make it DEGRADED, by name", async () => {
    const shop = workshop()
    shop.open = async () => fakeBackend({ interface: { rejected: [{ item: "tool:bad", reason: "no inputSchema" }] } })
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "DEGRADED" })
    expect(house.view()?.reason).toContain("tool:bad")
  })
})

describe("probes", () => {
  function probed(error: () => ClarityError | undefined) {
    const shop = workshop()
    let probes = 0
    shop.open = async () =>
      Object.assign(fakeBackend(), {
        probe: async () => {
          probes += 1
          const failure = error()
          if (failure !== undefined) throw failure
        },
      })
    return { shop, probes: () => probes }
  }

  test("a remote that stops answering says so by health and keeps running; when it is back it is asked what it offers", async () => {
    let failure: ClarityError | undefined
    const { shop } = probed(() => failure)
    await using house = supervised([remoteManifest()], { shop })
    await house.clock.advance(60_000)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    for (const [code, health] of [
      ["upstream_timeout", "TIMEOUT"],
      ["upstream_unauthorized", "UNAUTHORIZED"],
      ["unavailable", "UNREACHABLE"],
      ["upstream_invalid", "DEGRADED"],
    ] as const) {
      failure = new ClarityError(code, `said ${code}`)
      await house.clock.advance(40_000)
      expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health, reason: `said ${code}` })
      expect(house.view()?.hint).toBeTruthy()
    }
    failure = undefined
    shop.latest().backend.become({ tools: [tool("new")] })
    await house.clock.advance(60_000)
    expect(house.view()).toMatchObject({ health: "HEALTHY" })
    expect(house.view()?.interface?.tools[0]?.name).toBe("new")
    expect(shop.opened).toHaveLength(1)
  })

  test("answered calls spare probes", async () => {
    const { shop, probes } = probed(() => undefined)
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    for (let second = 0; second < 120; second++) {
      const lease = await house.supervisor.acquire(house.id, caller())
      lease.release("ok")
      await house.clock.advance(1_000)
    }
    expect(probes()).toBe(0)
    await house.clock.advance(120_000)
    expect(probes()).toBeGreaterThan(2)
    expect(probes()).toBeLessThan(6)
  })

  test("a local program that hangs is replaced after three probes in vain, unless it is at work", async () => {
    let hangs = true
    const { shop } = probed(() => (hangs ? new ClarityError("upstream_timeout", "no answer") : undefined))
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    const lease = await house.supervisor.acquire(house.id, caller())
    await house.clock.advance(300_000)
    expect(shop.opened).toHaveLength(1)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "TIMEOUT" })
    lease.release()
    await house.clock.advance(60_000)
    hangs = false
    await house.clock.advance(60_000)
    expect(shop.opened.length).toBeGreaterThan(1)
    expect(shop.opened[0]?.backend.disposals).toBe(1)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
  })

  test("a probe that never answers is a time-out", async () => {
    const shop = workshop()
    shop.open = async () => Object.assign(fakeBackend(), { probe: () => new Promise<void>(() => undefined) })
    await using house = supervised([remoteManifest()], { shop })
    await house.clock.advance(40_000)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "TIMEOUT" })
  })
})
