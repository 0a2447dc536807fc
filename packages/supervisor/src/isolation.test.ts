import { ClarityError, type Principal } from "@clarity-runtime/contracts"
import { fakeBackend, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { caller, supervised, workshop } from "../test/harness.ts"

const who = (id: string): Principal => ({ id, kind: "user", scopes: ["call"] })
const keys = (house: ReturnType<typeof supervised>) => house.shop.alive().map(({ services }) => services.isolationKey)

describe("isolation", () => {
  test("shared: everybody gets the same", async () => {
    await using house = supervised([stdioManifest()])
    const leases = await Promise.all(
      ["a", "b", "c"].map((id) => house.supervisor.acquire(house.id, caller({ principal: who(id) }))),
    )
    expect(new Set(leases.map(({ backend }) => backend)).size).toBe(1)
    expect(keys(house)).toEqual(["shared"])
    for (const lease of leases) lease.release()
  })

  test("principal: one each; calls at one moment share one opening; idle ones end", async () => {
    await using house = supervised([stdioManifest({ spec: { isolation: "principal" } })])
    await house.turn()
    const ask = (id: string, session?: string) =>
      house.supervisor.acquire(house.id, caller({ principal: who(id), session }))
    const [first, second, other] = await Promise.all([ask("ann", "s1"), ask("ann", "s2"), ask("bob")])
    expect(first?.backend).toBe(second?.backend)
    expect(other?.backend).not.toBe(first?.backend)
    expect(keys(house).sort()).toEqual(["ann", "bob", "shared"])
    expect(house.supervisor.status(house.id)?.instances).toBe(3)
    first?.release()
    other?.release()
    await house.clock.advance(300_000)
    expect(keys(house).sort()).toEqual(["ann", "shared"])
    second?.release()
    await house.clock.advance(300_000)
    expect(keys(house)).toEqual(["shared"])
  })

  test("session: one each, never shared between principals, by principal where there is no session", async () => {
    await using house = supervised([stdioManifest({ spec: { isolation: "session" } })])
    const ask = (id: string, session?: string) =>
      house.supervisor.acquire(house.id, caller({ principal: who(id), session }))
    const leases = await Promise.all([ask("ann", "s"), ask("ann", "s"), ask("bob", "s"), ask("ann"), ask("bob")])
    const backends = leases.map(({ backend }) => backend)
    expect(backends[0]).toBe(backends[1])
    expect(new Set(backends).size).toBe(4)
    for (const lease of leases) lease.release()
  })

  test("at the limit the longest unused makes room; with all in use the error says so", async () => {
    await using house = supervised([stdioManifest({ spec: { isolation: "principal" } })], {
      options: { maxInstances: 2 },
    })
    const ask = (id: string) => house.supervisor.acquire(house.id, caller({ principal: who(id) }))
    const ann = await ask("ann")
    const bob = await ask("bob")
    await expect(ask("cat")).rejects.toMatchObject({ code: "unavailable", data: { reason: "instance_limit" } })
    bob.release()
    const cat = await ask("cat")
    await house.turn()
    expect(keys(house).sort()).toEqual(["ann", "cat", "shared"])
    ann.release()
    cat.release()
  })

  test("one principal's failing instance is that one's affair, and is not opened in a tight loop", async () => {
    const shop = workshop()
    let tries = 0
    await using house = supervised([stdioManifest({ spec: { isolation: "principal" } })], { shop })
    await house.turn()
    shop.open = async () => {
      tries += 1
      throw new ClarityError("upstream_unauthorized", "no credential for this caller")
    }
    const fail = () => house.supervisor.acquire(house.id, caller({ principal: who("eve") })).catch((error) => error)
    expect(await fail()).toMatchObject({ code: "unavailable", data: { retryable: false } })
    await fail()
    expect(tries).toBe(1)
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    shop.open = async () => fakeBackend()
    await house.clock.advance(500)
    const lease = await house.supervisor.acquire(house.id, caller({ principal: who("eve") }))
    lease.release()
  })

  test("stopping ends callers' instances too, opening ones included", async () => {
    const shop = workshop()
    await using house = supervised([stdioManifest({ spec: { isolation: "principal" } })], { shop })
    await house.turn()
    const lease = await house.supervisor.acquire(house.id, caller({ principal: who("ann") }))
    lease.release()
    shop.open = (_definition, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("undone"))))
    const opening = house.supervisor.acquire(house.id, caller({ principal: who("bob") })).catch((error) => error)
    await house.turn()
    expect(await house.supervisor.stop(house.id)).toMatchObject({ lifecycle: "STOPPED", instances: 0 })
    expect(await opening).toMatchObject({ code: "unavailable", data: { state: "STOPPED" } })
    expect(house.shop.alive()).toEqual([])
  })
})

describe("lazy services", () => {
  const lazy = { start: "lazy" } as const

  test("run once to be known, end when idle, are listed, and come back with a call", async () => {
    await using house = supervised([stdioManifest({ spec: lazy })])
    await house.turn()
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING" })
    await house.clock.advance(300_000)
    expect(house.view()).toMatchObject({ lifecycle: "REGISTERED", listed: true, stale: true })
    expect(house.shop.alive()).toEqual([])
    await house.clock.advance(3_600_000)
    expect(house.shop.attempts).toBe(1)
    const lease = await house.supervisor.acquire(house.id, caller())
    expect(house.view()).toMatchObject({ lifecycle: "RUNNING" })
    await house.clock.advance(3_600_000)
    expect(house.shop.alive()).toHaveLength(1)
    lease.release()
    await house.clock.advance(600_000)
    expect(house.shop.alive()).toEqual([])
  })

  test("are not started when their interface is known, but are by a person", async () => {
    const first = supervised([stdioManifest({ spec: lazy })])
    await first.turn()
    await first[Symbol.asyncDispose]()
    await using house = supervised([], { registry: first.registry })
    await house.clock.advance(60_000)
    expect(house.shop.attempts).toBe(0)
    expect(house.view(first.id)).toMatchObject({ lifecycle: "REGISTERED", listed: true })
    expect(await house.supervisor.start(first.id)).toMatchObject({ lifecycle: "RUNNING" })
  })
})
