import type { ClarityError } from "@clarity-runtime/contracts"
import { fakeBackend, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { caller, memoryRegistry, supervised, workshop } from "../test/harness.ts"

const refusal = (thrown: unknown) => thrown as ClarityError

describe("what is wanted comes to run", () => {
  test("a service is STARTING until it really answered, then RUNNING and HEALTHY", async () => {
    const shop = workshop()
    const answered = Promise.withResolvers<void>()
    shop.open = async () => {
      const backend = fakeBackend({ tools: { hello: "hi" } })
      return Object.assign(backend, { describe: () => answered.promise.then(() => backend.interface) })
    }
    await using house = supervised([stdioManifest()], { shop })
    expect(house.view()).toMatchObject({ lifecycle: "REGISTERED", stale: true, listed: true })
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "STARTING", health: "UNKNOWN", stale: true })
    answered.resolve()
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY", stale: false })
    expect(house.view()?.interface?.tools[0]?.name).toBe("hello")
    expect(house.registry.snapshot().services.get(house.id)?.interface?.revision).toBe(house.view()?.revision)
  })

  test("an origin nobody can open says so and is not tried again", async () => {
    const shop = workshop(["remote_mcp"])
    await using house = supervised([stdioManifest()], { shop })
    await house.clock.advance(600_000)
    expect(house.view()).toMatchObject({ lifecycle: "CRASHED", health: "DEGRADED" })
    expect(house.view()?.reason).toContain("local_stdio")
    expect(house.kinds().filter((kind) => kind === "service.start_failed")).toHaveLength(1)
  })

  test("stop is kept in the registry, start again too; starting twice changes nothing", async () => {
    await using house = supervised([stdioManifest()])
    await house.turn()
    const stopped = await house.supervisor.stop(house.id)
    expect(stopped).toMatchObject({ lifecycle: "STOPPED", desired: "stopped", listed: false, instances: 0 })
    expect(house.registry.snapshot().services.get(house.id)?.desired).toBe("stopped")
    expect(house.shop.alive()).toHaveLength(0)
    const error = await house.supervisor.acquire(house.id, caller()).catch(refusal)
    expect(error).toMatchObject({ code: "unavailable", data: { state: "STOPPED", retryable: false } })

    expect(await house.supervisor.start(house.id)).toMatchObject({ lifecycle: "RUNNING", desired: "running" })
    expect(await house.supervisor.start(house.id)).toMatchObject({ lifecycle: "RUNNING", restartCount: 0 })
    expect(house.shop.opened).toHaveLength(2)
  })

  test("a disabled service is stopped, and starting it is refused by name", async () => {
    await using house = supervised([stdioManifest({ spec: { enabled: false } })])
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "STOPPED", listed: false })
    await expect(house.supervisor.start(house.id)).rejects.toMatchObject({ code: "conflict" })
    expect(house.shop.attempts).toBe(0)
  })

  test("lists are there before anything runs, from the stored interface", async () => {
    const registry = memoryRegistry([stdioManifest()])
    const [id = ""] = registry.snapshot().services.keys()
    await registry.storeInterface(id, fakeBackend({ tools: { stored: "x" } }).interface, 7)
    const shop = workshop()
    shop.open = () => new Promise(() => undefined)
    await using house = supervised([], { registry, shop })
    expect(house.view()).toMatchObject({ stale: true, listed: true, introspectedAt: 7 })
    expect(house.view()?.interface?.tools[0]?.name).toBe("stored")
  })

  test("its life is told event by event", async () => {
    await using house = supervised([])
    await house.turn()
    const { id } = await house.registry.put(stdioManifest())
    await house.turn()
    await house.supervisor.restart(id)
    house.shop.latest().die()
    await house.clock.advance(500)
    await house.supervisor.stop(id)
    await house.registry.remove(id)
    await house.turn()
    expect(house.kinds()).toEqual([
      "service.manifest_applied",
      "service.interface_refreshed",
      "service.started",
      "service.restarted",
      "service.started",
      "service.crashed",
      "service.started",
      "service.stopped",
      "service.removed",
    ])
    expect(house.telemetry.events.every(({ serviceId }) => serviceId === id)).toBe(true)
  })

  test("an operator waiting for a service that is removed meanwhile is told so", async () => {
    const shop = workshop()
    shop.open = (_definition, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("undone"))))
    await using house = supervised([stdioManifest()], { shop })
    const starting = house.supervisor.start(house.id).catch(refusal)
    const calling = house.supervisor.acquire(house.id, caller()).catch(refusal)
    await house.turn()
    await house.registry.remove(house.id)
    expect(await starting).toMatchObject({ code: "not_found" })
    expect(await calling).toMatchObject({ code: "unavailable" })
  })

  test("registering starts, removing drains, disposes and forgets", async () => {
    await using house = supervised([])
    await house.turn()
    const { id } = await house.registry.put(stdioManifest())
    await house.turn()
    expect(house.view(id)).toMatchObject({ lifecycle: "RUNNING" })
    const lease = await house.supervisor.acquire(id, caller())
    await house.registry.remove(id)
    await house.turn()
    expect(house.view(id)).toBeUndefined()
    expect(house.shop.alive()).toHaveLength(1)
    lease.release()
    await house.turn()
    expect(house.shop.alive()).toHaveLength(0)
    await expect(house.supervisor.acquire(id, caller())).rejects.toMatchObject({ code: "not_found" })
    expect(house.kinds()).toEqual(expect.arrayContaining(["service.manifest_applied", "service.removed"]))
  })
})
