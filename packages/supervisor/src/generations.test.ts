import { ClarityError } from "@clarity-runtime/contracts"
import { fakeBackend, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { caller, supervised, workshop } from "../test/harness.ts"

describe("generations", () => {
  test("changed names, limits and restarts need no new generation; a changed command does", async () => {
    const manifest = (over: Parameters<typeof stdioManifest>[0]) =>
      stdioManifest({ ...over, metadata: { serviceId: "mine" } })
    await using house = supervised([manifest({})])
    await house.turn()
    const lease = await house.supervisor.acquire("mine", caller())
    await house.registry.put(manifest({ spec: { toolNamespace: "renamed", limits: { timeoutMs: 5 } } }))
    await house.turn()
    expect(house.view()).toMatchObject({ namespace: "renamed", lifecycle: "RUNNING" })
    expect(house.shop.opened).toHaveLength(1)

    await house.registry.put(manifest({ origin: { command: "other" } }))
    await house.turn()
    expect(house.shop.opened).toHaveLength(2)
    expect(house.shop.alive()).toHaveLength(2)
    const next = await house.supervisor.acquire("mine", caller())
    expect(next.backend).not.toBe(lease.backend)
    lease.release()
    await house.turn()
    expect(house.shop.opened.map(({ backend }) => backend.disposals)).toEqual([1, 0])
    next.release()
  })

  test("a lease that never ends holds the old generation for the drain time only", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const lease = await house.supervisor.acquire(house.id, caller())
    const restarted = await house.supervisor.restart(house.id)
    expect(restarted).toMatchObject({ id: house.id, lifecycle: "RUNNING", restartCount: 1, uptimeSeconds: 0 })
    await house.clock.advance(24_999)
    expect(house.shop.alive()).toHaveLength(2)
    await house.clock.advance(1)
    expect(house.shop.alive()).toHaveLength(1)
    lease.release()
    expect(house.shop.opened.map(({ backend }) => backend.disposals)).toEqual([1, 0])
  })

  test("an unused one is gone before its successor begins", async () => {
    const shop = workshop()
    const gone = Promise.withResolvers<void>()
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    const { backend } = shop.latest()
    const dispose = backend[Symbol.asyncDispose].bind(backend)
    backend[Symbol.asyncDispose] = () => gone.promise.then(dispose)
    const restarted = house.supervisor.restart(house.id)
    await house.turn()
    expect(shop.attempts).toBe(1)
    expect(house.view()?.lifecycle).toBe("STOPPING")
    gone.resolve()
    await restarted
    expect(shop.attempts).toBe(2)
  })

  test("one whose disposal hangs or throws holds up nobody for longer than its bound", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const { backend } = house.shop.latest()
    const dispose = backend[Symbol.asyncDispose].bind(backend)
    backend[Symbol.asyncDispose] = async () => {
      await dispose()
      await new Promise(() => undefined)
    }
    const restarted = house.supervisor.restart(house.id)
    await house.clock.advance(10_000)
    expect(await restarted).toMatchObject({ lifecycle: "RUNNING" })
    const next = house.shop.latest().backend
    const disposeNext = next[Symbol.asyncDispose].bind(next)
    next[Symbol.asyncDispose] = async () => {
      await disposeNext()
      throw new Error("it would not go")
    }
    expect(await house.supervisor.stop(house.id)).toMatchObject({ lifecycle: "STOPPED" })
    expect(house.telemetry.lines.join("\n")).toContain("it would not go")
  })

  test("stop during a start undoes it without counting a failure", async () => {
    const shop = workshop()
    shop.open = (_definition, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("undone"))))
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    expect(await house.supervisor.stop(house.id)).toMatchObject({ lifecycle: "STOPPED" })
    expect(house.count("service.start_failed")).toBe(0)
  })

  test("an id registered anew waits for what its predecessor leaves behind", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const lease = await house.supervisor.acquire(house.id, caller())
    await house.registry.remove(house.id)
    await house.registry.put(stdioManifest())
    await house.turn()
    const next = await house.supervisor.acquire(house.id, caller())
    expect(next.backend).not.toBe(lease.backend)
    lease.release()
    next.release()
    await house.turn()
    expect(house.shop.alive()).toHaveLength(1)
  })
})

describe("recycling", () => {
  test("by age: replaced, and no call is failed or cut within the drain time", async () => {
    await using house = supervised([stdioManifest({ spec: { recycle: { maxAgeSeconds: 3600 } } })])
    await house.turn()
    const lease = await house.supervisor.acquire(house.id, caller())
    await house.clock.advance(3_600_000)
    expect(house.shop.opened).toHaveLength(2)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING" })
    await house.clock.advance(300_000)
    expect(house.shop.opened[0]?.backend.disposals).toBe(0)
    lease.release()
    await house.turn()
    expect(house.shop.opened[0]?.backend.disposals).toBe(1)
    expect(house.supervisor.status(house.id)?.restartCount).toBe(0)
  })

  test("by memory: looked at now and then", async () => {
    const shop = workshop()
    const vitals = { pid: 77, rssBytes: 50 * 1_048_576 }
    shop.open = async () => fakeBackend({ vitals })
    await using house = supervised([stdioManifest({ spec: { recycle: { maxMemoryMb: 100 } } })], { shop })
    await house.clock.advance(120_000)
    expect(house.supervisor.status(house.id)).toMatchObject({ pid: 77, rssBytes: vitals.rssBytes })
    expect(shop.opened).toHaveLength(1)
    vitals.rssBytes = 101 * 1_048_576
    await house.clock.advance(29_999)
    vitals.rssBytes = 101 * 1_048_576
    await house.clock.advance(1)
    expect(shop.opened).toHaveLength(2)
    vitals.rssBytes = 0
  })

  test("an eager service that says idleSeconds stops when idle and comes back with a call", async () => {
    await using house = supervised([stdioManifest({ spec: { recycle: { idleSeconds: 60 } } })])
    await house.clock.advance(60_000)
    expect(house.view()).toMatchObject({ lifecycle: "REGISTERED", listed: true })
    const lease = await house.supervisor.acquire(house.id, caller())
    lease.release()
    expect(house.shop.opened).toHaveLength(2)
  })

  test("over the memory budget the longest unused that come back on use are stopped, others never", async () => {
    const shop = workshop()
    shop.open = async () => fakeBackend({ vitals: { rssBytes: 60 * 1_048_576 } })
    const manifests = ["a", "b", "c"].map((name) =>
      stdioManifest({ name, spec: { start: name === "a" ? "eager" : "lazy" } }),
    )
    await using house = supervised(manifests, { shop, options: { memoryBudgetMb: 130 } })
    await house.turn()
    const ids = Object.fromEntries(house.supervisor.snapshot().services.map(({ namespace, id }) => [namespace, id]))
    const lease = await house.supervisor.acquire(ids["b"] ?? "", caller())
    await house.clock.advance(30_000)
    expect(house.supervisor.snapshot().services.map(({ lifecycle }) => lifecycle)).toEqual([
      "RUNNING",
      "RUNNING",
      "REGISTERED",
    ])
    lease.release()
  })
})

describe("disposal", () => {
  test("refuses new calls, gives those under way a moment, and leaves nothing", async () => {
    const house = supervised([stdioManifest(), stdioManifest({ name: "other" })])
    await house.turn()
    await house.supervisor.acquire(house.id, caller())
    const ended = house.supervisor[Symbol.asyncDispose]()
    const again = house.supervisor[Symbol.asyncDispose]()
    const error = await house.supervisor.acquire(house.id, caller()).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ClarityError)
    expect(error).toMatchObject({ code: "unavailable" })
    await house.clock.advance(2_000)
    await Promise.all([ended, again])
    expect(house.shop.alive()).toEqual([])
    expect(house.clock.sleepers).toBe(0)
    expect([...house.registry.snapshot().services.values()].map(({ desired }) => desired)).toEqual([
      undefined,
      undefined,
    ])
  })
})
