import {
  createBroadcast,
  serviceIdOf,
  type Interface,
  type Registry,
  type RegistrySnapshot,
} from "@clarity-runtime/contracts"
import { callContext, fakeBackend, fakeSource, stdioManifest } from "@clarity-runtime/testkit"
import { sourceContract } from "@clarity-runtime/testkit/suites"
import { describe, expect, it } from "vitest"
import { fake } from "../../test-support/served.ts"
import { fixedSource, joinSources, openOnUse } from "../index.ts"

const manifest = stdioManifest({ name: "one" })
const id = serviceIdOf(manifest)

/** As much of a registry as a source reads. */
function shelf(): Registry & { add(name: string): void } {
  const changes = createBroadcast<RegistrySnapshot>()
  const faces = new Map<string, Interface>()
  let snapshot: RegistrySnapshot = { generation: 0, services: new Map() }
  const unused = () => Promise.reject(new Error("not part of this test"))
  const add = (name: string) => {
    const next = name === "one" ? manifest : stdioManifest({ name })
    const record = { id: serviceIdOf(next), manifest: next, revision: 1, createdAt: snapshot.generation, updatedAt: 0 }
    snapshot = { generation: snapshot.generation + 1, services: new Map(snapshot.services).set(record.id, record) }
    changes.publish(snapshot)
  }
  add("one")
  return {
    add,
    snapshot: () => snapshot,
    changes: (signal) => changes.subscribe(signal),
    interfaceOf: (service) => faces.get(service),
    async storeInterface(service, face) {
      faces.set(service, face)
      return "iface_x"
    },
    put: unused,
    patch: unused,
    remove: unused,
    async [Symbol.asyncDispose]() {},
  }
}

function opened(open = () => Promise.resolve(fakeBackend({ tools: { hello: "hi" } }))) {
  const registry = shelf()
  return { registry, source: openOnUse({ registry, backends: [{ type: "local_stdio", open }] }) }
}

sourceContract("services opened on use", async () => {
  const { registry, source } = opened()
  let n = 0
  return {
    source,
    serviceId: id,
    change: () => registry.add(`more-${n++}`),
    close: async () => source[Symbol.asyncDispose](),
  }
})

sourceContract("joined sources", async () => {
  const backend = fakeBackend({ tools: { hello: "hi" } })
  const inner = fakeSource([{ name: "inner", backend }])
  let n = 0
  const more = () => inner.set([{ name: "inner", backend }, { name: `more_${n++}` }])
  return {
    source: joinSources([fixedSource([fake({ namespace: "fixed" })]), inner]),
    serviceId: inner.snapshot().services[0]?.id ?? "",
    change: more,
  }
})

describe("services opened on use", () => {
  it("are listed when they have said what they offer, and say why they could not be opened", async () => {
    const good = opened()
    await expect
      .poll(() => good.source.snapshot().services[0])
      .toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY", stale: false })
    await good.source[Symbol.asyncDispose]()
    const bad = opened(() => Promise.reject(new Error("internal detail")))
    await expect
      .poll(() => bad.source.snapshot().services[0])
      .toMatchObject({ lifecycle: "CRASHED", health: "UNREACHABLE" })
    await expect(bad.source.acquire(id, callContext())).rejects.toMatchObject({ code: "internal" })
    await bad.source[Symbol.asyncDispose]()
  })

  it("share one opening, and are opened anew when they have gone away", async () => {
    const backends: ReturnType<typeof fakeBackend>[] = []
    const { source } = opened(async () => {
      const backend = fakeBackend({ tools: { hello: "hi" } })
      backends.push(backend)
      return backend
    })
    const both = await Promise.all([source.acquire(id, callContext()), source.acquire(id, callContext())])
    expect(both[0].backend).toBe(both[1].backend)
    expect(backends).toHaveLength(1)
    backends[0]?.emit({ kind: "exit", reason: "it went away" })
    await expect.poll(() => source.snapshot().services[0]?.reason).toBe("it went away")
    expect((await source.acquire(id, callContext())).backend).toBe(backends[1])
    await source[Symbol.asyncDispose]()
    expect(backends.map(({ disposals }) => disposals)).toEqual([1, 1])
  })

  it("outlive a refusal to say what they offer, and leave nothing open", async () => {
    const backend = fakeBackend({ tools: { hello: "hi" } })
    const { source } = opened(() => Promise.resolve(backend))
    await expect.poll(() => source.snapshot().services[0]?.stale).toBe(false)
    let refused = 0
    backend.describe = () => Promise.reject(new Error(`refused ${++refused} times`))
    backend.emit({ kind: "lists" } as never)
    await expect.poll(() => refused).toBe(1)
    expect(source.snapshot().services[0]).toMatchObject({ lifecycle: "RUNNING" })
    await source[Symbol.asyncDispose]()
    const mute = fakeBackend({})
    mute.describe = () => Promise.reject(new Error("refused"))
    const bad = opened(() => Promise.resolve(mute))
    await expect.poll(() => bad.source.snapshot().services[0]?.lifecycle).toBe("CRASHED")
    expect(mute.disposals).toBe(1)
    await bad.source[Symbol.asyncDispose]()
  })
})
