import type { SourceSnapshot } from "@clarity-runtime/contracts"
import { fakeBackend, stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, test } from "vitest"
import { memoryRegistry, supervised, workshop } from "../test/harness.ts"

describe("snapshots", () => {
  test("are in order of namespace, with twins told apart, and immutable: what did not change is the same object", async () => {
    const manifests = ["Same-Name", "beta", "same_name"].map((name) => stdioManifest({ name }))
    await using house = supervised(manifests)
    await house.turn()
    const before = house.supervisor.snapshot()
    const names = before.services.map(({ namespace }) => namespace)
    expect(names).toEqual([...names].sort())
    expect(new Set(names).size).toBe(3)
    const beta = before.services.find(({ namespace }) => namespace === "beta")
    await house.supervisor.stop(beta?.id ?? "")
    const after = house.supervisor.snapshot()
    expect(after.generation).toBeGreaterThan(before.generation)
    expect(before.services.find(({ id }) => id === beta?.id)?.lifecycle).toBe("RUNNING")
    expect(after.services.map((view, index) => view === before.services[index])).toEqual(
      after.services.map(({ id }) => id !== beta?.id),
    )
  })

  test("a storm of changes is published a few times only, the last one always, each generation once", async () => {
    const manifests = Array.from({ length: 100 }, (_, index) => stdioManifest({ name: `s${index}` }))
    await using house = supervised(manifests)
    const over = new AbortController()
    const seen: SourceSnapshot[] = []
    const reading = (async () => {
      for await (const snapshot of house.supervisor.changes(over.signal)) seen.push(snapshot)
    })()
    await house.clock.advance(1_000)
    expect(seen.at(-1)).toBe(house.supervisor.snapshot())
    expect(seen.at(-1)?.services.every(({ lifecycle }) => lifecycle === "RUNNING")).toBe(true)
    expect(seen.length).toBeLessThan(15)
    expect(new Set(seen.map(({ generation }) => generation)).size).toBe(seen.length)
    over.abort()
    await reading
  })

  test("nothing is published while nothing changes", async () => {
    await using house = supervised([stdioManifest()])
    await house.clock.advance(1_000)
    const { generation } = house.supervisor.snapshot()
    await house.registry.patch(house.id, { desired: "running" })
    await house.clock.advance(3_600_000)
    expect(house.supervisor.snapshot().generation).toBe(generation)
  })

  test("500 services with 20,000 tools: stored interfaces are there at once, none is read or copied", async () => {
    const manifests = Array.from({ length: 500 }, (_, index) => stdioManifest({ name: `s${index}` }))
    const registry = memoryRegistry(manifests)
    const tools = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`tool${index}`, "x"]))
    const ids = [...registry.snapshot().services.keys()]
    await Promise.all(ids.map((id) => registry.storeInterface(id, fakeBackend({ tools }).interface, 1)))
    const shop = workshop()
    shop.open = (_definition, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("undone"))))
    await using house = supervised([], { registry, shop })
    const { services } = house.supervisor.snapshot()
    expect(services).toHaveLength(500)
    expect(
      services.every((view) => view.listed && view.stale && view.interface === registry.interfaceOf(view.id)),
    ).toBe(true)
  })
})
