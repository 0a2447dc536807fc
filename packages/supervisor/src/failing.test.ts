import { ClarityError } from "@clarity-runtime/contracts"
import { fakeBackend, remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { caller, memoryRegistry, supervised, workshop } from "../test/harness.ts"

const refused = () =>
  Promise.reject(new ClarityError("unavailable", "it cannot be reached", { data: { hint: "look" } }))
const thrown = (error: unknown) => error as ClarityError

describe("restarts", () => {
  test("a program that ends is CRASHED, waits half a second and runs again; a waiting call gets the new one", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    house.shop.latest().die("exited with code 3")
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "CRASHED", health: "DEGRADED", stale: true, listed: true })
    expect(house.view()?.reason).toContain("exited with code 3")
    expect(house.supervisor.status(house.id)?.nextAttemptAt).toBe(house.clock.now() + 500)
    const lease = house.supervisor.acquire(house.id, caller())
    await house.clock.advance(499)
    expect(house.shop.attempts).toBe(1)
    await house.clock.advance(1)
    expect((await lease).backend).toBe(house.shop.latest().backend)
    expect(house.supervisor.status(house.id)).toMatchObject({ lifecycle: "RUNNING", restartCount: 1 })
    expect(house.shop.alive()).toHaveLength(1)
    ;(await lease).release()
  })

  test("failing starts double their pauses up to the cap, and a service without a limit never rests", async () => {
    const shop = workshop()
    shop.open = refused
    const starts: number[] = []
    const policy = { mode: "always", maxRestarts: 0, windowSeconds: 60 } as const
    await using house = supervised([stdioManifest({ spec: { restartPolicy: policy } })], {
      shop: Object.assign(shop, { open: async () => (starts.push(house.clock.monotonic()), refused()) }),
    })
    await house.clock.advance(200_000)
    const pauses = starts.slice(1).map((at, index) => at - (starts[index] ?? 0))
    expect(pauses).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  })

  test("a program that says nothing in time: the operator is told to see what it waits for", async () => {
    const shop = workshop()
    shop.open = (_definition, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(thrown(signal.reason))))
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    await house.clock.advance(30_000)
    expect(house.view()).toMatchObject({ health: "TIMEOUT", reason: "it did not come up within 30 s" })
    expect(house.view()?.hint).toContain("run the command by hand")
  })

  test("mode never: one failure, then it waits for a person", async () => {
    const shop = workshop()
    shop.open = refused
    const policy = { mode: "never", maxRestarts: 5, windowSeconds: 60 } as const
    await using house = supervised([stdioManifest({ spec: { restartPolicy: policy } })], { shop })
    await house.clock.advance(600_000)
    expect(shop.attempts).toBe(1)
    const error = await house.supervisor.acquire(house.id, caller()).catch(thrown)
    expect(error).toMatchObject({ code: "unavailable", data: { state: "CRASHED", retryable: false, hint: "look" } })
    expect(await house.supervisor.start(house.id)).toMatchObject({ lifecycle: "CRASHED" })
    expect(shop.attempts).toBe(2)
  })

  test("ten good minutes clear the count", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    for (let round = 0; round < 8; round++) {
      await house.clock.advance(600_000)
      house.shop.latest().die()
      await house.clock.advance(500)
      expect(house.view()?.lifecycle).toBe("RUNNING")
    }
    expect(house.count("service.quarantined")).toBe(0)
  })

  test("what a call finds broken is replaced at once; others finish on the old one", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const first = await house.supervisor.acquire(house.id, caller())
    const second = await house.supervisor.acquire(house.id, caller())
    first.release("broken")
    first.release("broken")
    const third = await house.supervisor.acquire(house.id, caller())
    expect(third.backend).not.toBe(second.backend)
    expect(house.shop.alive()).toHaveLength(2)
    second.release()
    await house.turn()
    expect(house.shop.alive()).toHaveLength(1)
    expect(house.shop.opened.map(({ backend }) => backend.disposals)).toEqual([1, 0])
    third.release()
  })

  test("a start that hangs ends after its deadline, and what comes late is disposed", async () => {
    const shop = workshop()
    const late = Promise.withResolvers<ReturnType<typeof fakeBackend>>()
    shop.open = (_definition, _signal, attempt) => (attempt === 1 ? late.promise : Promise.resolve(fakeBackend()))
    await using house = supervised([stdioManifest()], { shop })
    await house.clock.advance(40_100)
    expect(house.view()).toMatchObject({ health: "TIMEOUT" })
    expect(house.view()?.reason).toContain("30 s")
    const backend = fakeBackend()
    late.resolve(backend)
    await house.clock.advance(1_000)
    expect(backend.disposals).toBe(1)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING" })
  })
})

describe("quarantine", () => {
  async function crashLoop() {
    const shop = workshop()
    shop.open = refused
    const house = supervised([stdioManifest()], { shop })
    await house.clock.advance(8_000)
    return house
  }

  test("five failing starts in the window: quarantined, kept, told, not listed, never tried again", async () => {
    await using house = await crashLoop()
    expect(house.view()).toMatchObject({ lifecycle: "QUARANTINED", listed: false })
    expect(house.view()?.reason).toContain("5 failures within 60 s")
    expect(house.registry.snapshot().services.get(house.id)?.quarantine?.reason).toContain("cannot be reached")
    expect(house.count("service.quarantined")).toBe(1)
    await house.clock.advance(3_600_000)
    expect(house.shop.attempts).toBe(5)
    const error = await house.supervisor.acquire(house.id, caller()).catch(thrown)
    expect(error).toMatchObject({ code: "unavailable", data: { state: "QUARANTINED", retryable: false } })
  })

  test("stop, start and restart do not walk around it; unquarantine does", async () => {
    await using house = await crashLoop()
    await expect(house.supervisor.start(house.id)).rejects.toMatchObject({ code: "conflict" })
    await expect(house.supervisor.restart(house.id)).rejects.toMatchObject({ code: "conflict" })
    expect(await house.supervisor.stop(house.id)).toMatchObject({ lifecycle: "QUARANTINED", desired: "stopped" })
    await expect(house.supervisor.start(house.id)).rejects.toMatchObject({ code: "conflict" })
    expect(house.shop.attempts).toBe(5)

    expect(await house.supervisor.unquarantine(house.id)).toMatchObject({ lifecycle: "STOPPED" })
    house.shop.open = async () => fakeBackend({ tools: { back: "again" } })
    expect(await house.supervisor.start(house.id)).toMatchObject({ lifecycle: "RUNNING" })
    expect(house.registry.snapshot().services.get(house.id)?.quarantine).toBeUndefined()
  })

  test("it outlives the daemon", async () => {
    const house = await crashLoop()
    await house[Symbol.asyncDispose]()
    await using next = supervised([], { registry: house.registry })
    await next.clock.advance(600_000)
    expect(next.view(house.id)).toMatchObject({ lifecycle: "QUARANTINED" })
    expect(next.shop.attempts).toBe(0)
  })

  test("a registry that cannot write does not let it slip; unquarantine works once it can", async () => {
    const registry = memoryRegistry([stdioManifest()])
    const shop = workshop()
    shop.open = refused
    await using house = supervised([], { registry, shop })
    registry.failWith = new ClarityError("storage_error", "disk full")
    await house.clock.advance(600_000)
    expect(house.view()).toMatchObject({ lifecycle: "QUARANTINED" })
    expect(shop.attempts).toBe(5)
    await expect(house.supervisor.unquarantine(house.id)).rejects.toMatchObject({ code: "storage_error" })
    expect(house.view()).toMatchObject({ lifecycle: "QUARANTINED" })
    registry.failWith = undefined
    shop.open = async () => fakeBackend()
    expect(await house.supervisor.unquarantine(house.id)).toMatchObject({ lifecycle: "RUNNING" })
  })

  test("a remote that is away for an hour is never quarantined, and back by itself", async () => {
    const shop = workshop()
    shop.open = refused
    await using house = supervised([remoteManifest()], { shop })
    await house.clock.advance(3_600_000)
    expect(house.view()).toMatchObject({ lifecycle: "CRASHED", health: "UNREACHABLE", listed: true, hint: "look" })
    expect(house.count("service.quarantined")).toBe(0)
    shop.open = async () => fakeBackend()
    await house.clock.advance(60_000)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
  })
})

describe("a call to a service that is away", () => {
  test("hurries a remote that backs off, and gets it when it is back", async () => {
    const shop = workshop()
    shop.open = refused
    await using house = supervised([remoteManifest()], { shop })
    await house.clock.advance(300_000)
    const before = shop.attempts
    shop.open = async () => fakeBackend({ tools: { back: "x" } })
    const lease = house.supervisor.acquire(house.id, caller())
    await house.clock.advance(2_000)
    expect(shop.attempts).toBe(before + 1)
    ;(await lease).release()
  })

  test("fails after one attempt in vain when it has been away for long, naming state, reason and when to come again", async () => {
    const shop = workshop()
    shop.open = refused
    await using house = supervised([remoteManifest()], { shop })
    await house.clock.advance(300_000)
    const waiting = house.supervisor.acquire(house.id, caller()).then(() => undefined, thrown)
    await house.clock.advance(2_000)
    const failure = await waiting
    expect(failure).toMatchObject({
      code: "unavailable",
      data: { service: "echo", state: "CRASHED", reason: "it cannot be reached", retryable: true },
    })
    expect(failure?.data.retryAfterMs).toBeGreaterThan(0)
  })

  test("waits for a slow start no longer than the start deadline", async () => {
    const shop = workshop()
    shop.open = () => new Promise(() => undefined)
    await using house = supervised([stdioManifest()], { shop })
    await house.clock.advance(10_000)
    const failure = house.supervisor.acquire(house.id, caller()).catch(thrown)
    await house.clock.advance(30_000)
    expect(await failure).toMatchObject({ code: "unavailable", data: { retryable: true } })
  })

  test("ends with its caller, not with the service", async () => {
    const shop = workshop()
    shop.open = () => new Promise(() => undefined)
    await using house = supervised([stdioManifest()], { shop })
    await house.turn()
    const hangUp = new AbortController()
    const failure = house.supervisor.acquire(house.id, caller({ signal: hangUp.signal })).catch(thrown)
    await house.turn()
    hangUp.abort()
    expect(await failure).toMatchObject({ code: "cancelled" })
    await house.clock.advance(40_000)
  })

  test("one hanging service holds up no other, nor do eight", async () => {
    const shop = workshop()
    shop.open = (definition) =>
      definition.namespace.startsWith("dead") ? new Promise(() => undefined) : Promise.resolve(fakeBackend())
    const dead = Array.from({ length: 20 }, (_, index) => stdioManifest({ name: `dead${index}` }))
    await using house = supervised([...dead, stdioManifest({ name: "good" })], { shop })
    await house.turn()
    const good = house.supervisor.snapshot().services.find(({ namespace }) => namespace === "good")
    expect(good?.lifecycle).toBe("STARTING")
    const lease = await house.supervisor.acquire(good?.id ?? "", caller())
    lease.release()
    expect(house.clock.monotonic()).toBe(0)
    await house.clock.advance(60_000)
  })
})
