import type { Interface, Registry, RegistrySnapshot } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { remoteManifest, stdioManifest, wasmManifest } from "../manifests.ts"

/** A registry under test and, when it is durable, the way to open what it stored anew (the first is disposed by then). */
export interface RegistryFixture {
  readonly registry: Registry
  readonly reopen?: () => Promise<Registry>
}

/** What every `Registry` promises. `open` gives an empty one each time. */
export function registryContract(name: string, open: () => Promise<RegistryFixture>): void {
  describe(`${name} keeps the contract of a registry`, () => {
    let fixture: RegistryFixture
    let registry: Registry
    beforeEach(async () => {
      fixture = await open()
      registry = fixture.registry
    })
    afterEach(async () => {
      await registry[Symbol.asyncDispose]()
    })

    it("is empty at first", () => {
      expect(registry.snapshot().services.size).toBe(0)
    })

    it("acknowledges what is then in the snapshot, in order of registration", async () => {
      const a = await registry.put(wasmManifest({ name: "zulu" }))
      const b = await registry.put(stdioManifest({ name: "alpha" }))
      const c = await registry.put(remoteManifest({ name: "mike" }))
      expect([...registry.snapshot().services.keys()]).toEqual([a.id, b.id, c.id])
      expect(registry.snapshot().services.get(b.id)).toEqual(b)
      expect(a.revision).toBe(1)
      expect(b.createdAt).toBeGreaterThan(a.createdAt)
    })

    it("keeps every one of many parallel registrations", async () => {
      const names = Array.from({ length: 40 }, (_, number) => `service-${number}`)
      const records = await Promise.all(names.map((each) => registry.put(remoteManifest({ name: each }))))
      expect(new Set(records.map(({ id }) => id)).size).toBe(40)
      expect([...registry.snapshot().services.keys()].sort()).toEqual(records.map(({ id }) => id).sort())
    })

    it("takes the same manifest twice as once", async () => {
      const first = await registry.put(stdioManifest())
      const { generation } = registry.snapshot()
      const again = await registry.put(stdioManifest({ metadata: { updatedAt: "2026-05-05T05:05:05Z" } }))
      expect(again).toEqual(first)
      expect(registry.snapshot().generation).toBe(generation)
    })

    it("replaces a changed manifest, keeping id, age and what was asked for, and counts the revision", async () => {
      const first = await registry.put(stdioManifest())
      await registry.patch(first.id, { desired: "stopped" })
      const second = await registry.put(stdioManifest({ metadata: { displayName: "Echo" } }), 2)
      expect(second).toMatchObject({ id: first.id, revision: 3, desired: "stopped", createdAt: first.createdAt })
      expect(second.manifest.metadata.displayName).toBe("Echo")
    })

    it("refuses a stale revision and changes nothing", async () => {
      const { id } = await registry.put(stdioManifest())
      await registry.patch(id, { desired: "stopped" })
      const before = registry.snapshot()
      const stale = { code: "conflict" }
      await expect(registry.put(stdioManifest({ metadata: { displayName: "x" } }), 1)).rejects.toMatchObject(stale)
      await expect(registry.patch(id, { desired: "running" }, 1)).rejects.toMatchObject(stale)
      await expect(registry.remove(id, 1)).rejects.toMatchObject(stale)
      await expect(registry.put(stdioManifest({ name: "new" }), 4)).rejects.toMatchObject(stale)
      expect(registry.snapshot()).toBe(before)
    })

    it("lets one of several edits of the same revision win", async () => {
      const { id } = await registry.put(stdioManifest())
      const edits = ["a", "b", "c"].map((displayName) => registry.put(stdioManifest({ metadata: { displayName } }), 1))
      const outcomes = await Promise.allSettled(edits)
      expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"])
      expect(registry.snapshot().services.get(id)?.manifest.metadata.displayName).toBe("a")
    })

    it("does not let a manifest take over the id of a service from elsewhere, nor invent one", async () => {
      const { id } = await registry.put(stdioManifest({ name: "mine" }))
      const thief = remoteManifest({ name: "thief", metadata: { serviceId: id } })
      await expect(registry.put(thief)).rejects.toMatchObject({ code: "conflict" })
      const inventor = remoteManifest({ name: "thief", metadata: { serviceId: "invented" } })
      await expect(registry.put(inventor)).rejects.toMatchObject({ code: "invalid_manifest" })
      const own = stdioManifest({ name: "mine", metadata: { serviceId: id, displayName: "Mine" } })
      expect(await registry.put(own)).toMatchObject({ id, revision: 2 })
      expect(registry.snapshot().services.size).toBe(1)
    })

    it("sets and clears what is asked for and the quarantine", async () => {
      const { id } = await registry.put(stdioManifest())
      const quarantine = { reason: "crashed 5 times", since: 1_700_000_000_000 }
      expect(await registry.patch(id, { quarantine })).toMatchObject({ quarantine, revision: 2 })
      expect(await registry.patch(id, { desired: "running" })).toMatchObject({ quarantine, desired: "running" })
      const cleared = await registry.patch(id, { quarantine: null, desired: null })
      expect(cleared).not.toHaveProperty("quarantine")
      expect(cleared).not.toHaveProperty("desired")
      expect(await registry.patch(id, { quarantine: null })).toEqual(cleared)
    })

    it("answers not_found for what is not there", async () => {
      const gone = { code: "not_found" }
      await expect(registry.remove("svc_000000000000")).rejects.toMatchObject(gone)
      await expect(registry.patch("svc_000000000000", { desired: "stopped" })).rejects.toMatchObject(gone)
      await expect(registry.storeInterface("svc_000000000000", face("a"), 1)).rejects.toMatchObject(gone)
      expect(registry.interfaceOf("constructor")).toBeUndefined()
    })

    it("removes a service with its interface and gives it back", async () => {
      const record = await registry.put(stdioManifest())
      await registry.storeInterface(record.id, face("a"), 1)
      expect(await registry.remove(record.id)).toMatchObject({ id: record.id })
      expect(registry.snapshot().services.size).toBe(0)
      expect(registry.interfaceOf(record.id)).toBeUndefined()
      expect(await registry.put(stdioManifest())).not.toHaveProperty("interface")
    })

    it("stores interfaces by content and leaves the revision of the record", async () => {
      const a = await registry.put(stdioManifest({ name: "a" }))
      const b = await registry.put(stdioManifest({ name: "b" }))
      const protocolOf = (version: string) => ({ eras: ["legacy" as const], version, checkedAt: 5 })
      const first = await registry.storeInterface(a.id, { ...face("x"), protocol: protocolOf("2025-03-26") }, 1000)
      const second = await registry.storeInterface(b.id, { ...face("x"), protocol: protocolOf("2025-11-25") }, 2000)
      expect(second).toBe(first)
      expect(registry.interfaceOf(a.id)).toEqual({ ...face("x"), protocol: protocolOf("2025-03-26") })
      expect(registry.interfaceOf(b.id)).toEqual({ ...face("x"), protocol: protocolOf("2025-11-25") })
      expect(registry.snapshot().services.get(a.id)).toMatchObject({
        revision: 1,
        interface: { revision: first, introspectedAt: 1000 },
      })
      await registry.remove(a.id)
      expect(registry.interfaceOf(b.id)?.tools).toEqual(face("x").tools)
    })

    it("publishes every change after it is in the snapshot", async () => {
      const ending = new AbortController()
      const heard = registry.changes(ending.signal)[Symbol.asyncIterator]()
      const next = heard.next()
      const { id } = await registry.put(stdioManifest())
      const seen: IteratorResult<RegistrySnapshot> = await next
      expect(seen.value.services.has(id)).toBe(true)
      expect(seen.value).toBe(registry.snapshot())
      ending.abort()
      expect((await heard.next()).done).toBe(true)
    })

    it("leaves earlier snapshots as they were", async () => {
      const { id } = await registry.put(stdioManifest())
      const before = registry.snapshot()
      await registry.patch(id, { desired: "stopped" })
      await registry.put(stdioManifest({ name: "other" }))
      expect(before.services.size).toBe(1)
      expect(before.services.get(id)).not.toHaveProperty("desired")
      expect(registry.snapshot().generation).toBeGreaterThan(before.generation)
    })

    it("finishes what was asked for before it was closed, refuses what comes after, and closes once", async () => {
      const pending = registry.put(stdioManifest())
      await registry[Symbol.asyncDispose]()
      await registry[Symbol.asyncDispose]()
      expect(await pending).toMatchObject({ revision: 1 })
      await expect(registry.put(stdioManifest({ name: "late" }))).rejects.toMatchObject({ code: "unavailable" })
    })

    it("finds everything again when opened anew", async ({ skip }) => {
      const { reopen } = fixture
      if (reopen === undefined) return skip("not durable")
      const a = await registry.put(wasmManifest({ name: "a" }))
      await registry.put(remoteManifest({ name: "b" }))
      await registry.patch(a.id, { desired: "stopped", quarantine: { reason: "crashed", since: 7 } })
      const protocol = { eras: ["legacy" as const, "modern" as const], version: "2026-07-28", checkedAt: 9 }
      await registry.storeInterface(a.id, { ...face("x"), protocol }, 11)
      const before = registry.snapshot()
      await registry[Symbol.asyncDispose]()
      registry = await reopen()
      expect([...registry.snapshot().services]).toEqual([...before.services])
      expect(registry.snapshot().generation).toBe(before.generation)
      expect(registry.interfaceOf(a.id)).toEqual({ ...face("x"), protocol })
      expect(registry.notices ?? []).toEqual([])
    })
  })
}

function face(name: string): Interface {
  return {
    tools: [{ name, inputSchema: { type: "object" }, "x-unknown": [1, { deep: true }] }],
    resources: [],
    resourceTemplates: [],
    prompts: [],
    capabilities: { tools: { listChanged: true } },
    instructions: "Use it.",
  }
}
