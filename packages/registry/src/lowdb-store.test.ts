import { copyFile, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError, interfaceRevision, serviceIdOf, type Interface } from "@clarity-runtime/contracts"
import { nodeFileSystem, type FileSystem } from "@clarity-runtime/state"
import { faultyFileSystem } from "@clarity-runtime/state/faults"
import { remoteManifest, stdioManifest, wasmManifest } from "@clarity-runtime/testkit"
import { beforeEach, describe, expect, it } from "vitest"
import { createRegistry, lowdbStore } from "./index.ts"

let dir: string
let file: string
beforeEach(async () => {
  dir = join(await realpath(await mkdtemp(join(tmpdir(), "lowdb-"))), "runtime")
  file = join(dir, "registry.json")
})

const open = (fs: FileSystem = nodeFileSystem) => createRegistry({ store: lowdbStore({ dir, fs }) })
const json = async (path = file) => JSON.parse(await readFile(path, "utf8"))
const face = (name: string, extra: object = {}): Interface => ({
  tools: [{ name, inputSchema: { type: "object" }, ...extra }],
  resources: [],
  resourceTemplates: [],
  prompts: [],
  capabilities: { tools: {} },
})

describe("files", () => {
  it("are not made before the first change, then for the owner only", async () => {
    const registry = await open()
    await expect(readdir(dir)).rejects.toThrow("ENOENT")
    const { id } = await registry.put(stdioManifest())
    await registry.storeInterface(id, face("a"), 0)
    expect((await stat(dir)).mode & 0o777).toBe(0o700)
    expect((await stat(join(dir, "interfaces"))).mode & 0o777).toBe(0o700)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  it("hold what is wanted in 0.9's shape, and neither health nor interface bodies", async () => {
    const registry = await open()
    const { id } = await registry.put(wasmManifest())
    await registry.patch(id, { desired: "stopped", quarantine: { reason: "crashed", since: 0 } })
    const revision = await registry.storeInterface(id, face("secret-of-the-body"), 1000)
    expect(await json()).toEqual({
      version: 1,
      updatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      services: [
        {
          manifest: { ...wasmManifest(), metadata: { ...wasmManifest().metadata, serviceId: id } },
          runtime: {
            desired: "stopped",
            quarantine: { reason: "crashed", since: "1970-01-01T00:00:00.000Z" },
            revision: 2,
            createdAt: expect.any(String),
            updatedAt: expect.any(String),
          },
          interfaceSnapshot: { interfaceRevision: revision, introspectedAt: "1970-01-01T00:00:01.000Z" },
        },
      ],
      generation: 3,
      checksum: expect.stringMatching(/^sha256:/),
    })
    expect(await readFile(file, "utf8")).not.toContain("secret-of-the-body")
    expect(await readdir(join(dir, "interfaces"))).toEqual([`${revision}.json`])
  })

  it("are one write for many registrations at once", async () => {
    const registry = await open()
    await Promise.all(Array.from({ length: 30 }, (_, index) => registry.put(remoteManifest({ name: `s${index}` }))))
    expect(registry.snapshot().generation).toBeLessThanOrEqual(2)
    await registry[Symbol.asyncDispose]()
    expect((await open()).snapshot().services.size).toBe(30)
  })
})

describe("interfaces", () => {
  it("keep numbers that no double can hold, digit by digit", async () => {
    const registry = await open()
    const { id } = await registry.put(stdioManifest())
    const { parseJson } = await import("@clarity-runtime/contracts")
    const body = parseJson(JSON.stringify(face("a")).replace('"object"', '"object","maximum":9223372036854775807'))
    await registry.storeInterface(id, body as Interface, 0)
    await registry[Symbol.asyncDispose]()
    const again = (await open()).interfaceOf(id)
    expect(JSON.stringify(again)).toContain('"maximum":9223372036854775807')
    expect(interfaceRevision(again as Interface)).toBe(interfaceRevision(body as Interface))
  })

  it("that nobody points at any more are removed, also while others are stored", async () => {
    const registry = await open()
    const records = await Promise.all(["a", "b", "c"].map((name) => registry.put(stdioManifest({ name }))))
    for (let round = 0; round < 5; round++)
      await Promise.all(
        records.map(({ id }, index) =>
          registry.storeInterface(id, face(`${index === 0 ? "fixed" : round % 2}`), round),
        ),
      )
    await registry[Symbol.asyncDispose]()
    const wanted = new Set([...registry.snapshot().services.values()].map((record) => record.interface?.revision))
    expect((await readdir(join(dir, "interfaces"))).sort()).toEqual([...wanted].map((name) => `${name}.json`).sort())
    const again = await open()
    expect(again.notices).toEqual([])
    for (const { id } of records) expect(again.interfaceOf(id)).toEqual(registry.interfaceOf(id))
  })

  it("that are missing, damaged or not what their name says are asked for again, and the rest lives on", async () => {
    const registry = await open()
    const records = await Promise.all(["a", "b", "c", "d"].map((name) => registry.put(stdioManifest({ name }))))
    const revisions = await Promise.all(records.map(({ id }) => registry.storeInterface(id, face(id), 0)))
    await registry[Symbol.asyncDispose]()
    const places = revisions.map((revision) => join(dir, "interfaces", `${revision}.json`)) as [
      string,
      string,
      string,
      string,
    ]
    await rm(places[0])
    await writeFile(places[1], (await readFile(places[1], "utf8")).replace('"type":"object"', '"type":"objekt"'))
    await copyFile(places[3], places[2])

    const again = await open()
    expect(again.notices).toEqual(
      records
        .slice(0, 3)
        .map(({ id }) => expect.stringContaining(`the stored interface of ${id} is missing or damaged`)),
    )
    expect(records.map(({ id }) => again.interfaceOf(id) !== undefined)).toEqual([false, false, false, true])
    const repaired = String(records[0]?.id)
    expect(await again.storeInterface(repaired, face(repaired), 5)).toBe(revisions[0])
    await again[Symbol.asyncDispose]()
    expect((await open()).interfaceOf(repaired)).toEqual(face(repaired))
  })

  it("never lead out of their folder", async () => {
    const registry = await open()
    const { id } = await registry.put(stdioManifest())
    await registry.storeInterface(id, face("a"), 0)
    await registry[Symbol.asyncDispose]()
    const body = await json()
    const { generation: _generation, checksum: _checksum, ...unsealed } = body
    unsealed.services[0].interfaceSnapshot.interfaceRevision = "../registry"
    await writeFile(file, JSON.stringify(unsealed))
    expect((await open()).notices).toEqual([expect.stringContaining("is missing or damaged")])
    expect(await readdir(dir)).toContain("registry.json")
  })
})

describe("a disk that fails", () => {
  it("leaves registry and file as they were, and the next change works", async () => {
    const { id } = await (await open()).put(stdioManifest())
    const counting = faultyFileSystem(Infinity)
    const counted = await open(counting)
    const opened = counting.calls.length
    await counted.patch(id, { desired: "stopped" })
    const changed = counting.calls.length

    const wrong: string[] = []
    for (let at = opened; at < changed; at++) {
      await (await open()).patch(id, { desired: null })
      const fs = faultyFileSystem(at, "ENOSPC")
      const registry = await open(fs)
      const before = registry.snapshot()
      try {
        await registry.patch(id, { desired: "stopped" })
      } catch (error) {
        if (!(error instanceof ClarityError) || error.code !== "storage_error")
          wrong.push(`${fs.failed}: ${String(error)}`)
        if (registry.snapshot() !== before) wrong.push(`${fs.failed}: refused, yet changed`)
        if ((await open()).snapshot().services.get(id)?.desired) wrong.push(`${fs.failed}: refused, yet on disk`)
        await registry.patch(id, { desired: "stopped" })
      }
      if ((await open()).snapshot().services.get(id)?.desired !== "stopped") wrong.push(`${fs.failed}: lost`)
    }
    expect(changed - opened).toBeGreaterThan(10)
    expect(wrong).toEqual([])
  })

  it("does not point at an interface that could not be stored", async () => {
    const registry = await open({
      ...nodeFileSystem,
      open: (path, flags, mode) =>
        path.includes("iface_")
          ? Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }))
          : nodeFileSystem.open(path, flags, mode),
    })
    const { id } = await registry.put(stdioManifest())
    await expect(registry.storeInterface(id, face("a"), 0)).rejects.toThrow(/iface_.*no space left on the disk/)
    expect(registry.snapshot().services.get(id)).not.toHaveProperty("interface")
    expect(registry.interfaceOf(id)).toBeUndefined()
  })
})

describe("a damaged registry.json", () => {
  it("gives the last good version, is kept aside and told of", async () => {
    const registry = await open()
    await registry.put(stdioManifest({ name: "a" }))
    await registry.put(stdioManifest({ name: "b" }))
    const text = await readFile(file, "utf8")
    await writeFile(file, text.slice(0, text.length / 2))
    const again = await open()
    expect(again.snapshot().services.size).toBe(1)
    expect(again.notices[0]).toContain(`${file} is not valid JSON (cut off or overwritten): used ${file}.prev instead`)
    expect((await readdir(dir)).some((name) => name.startsWith("registry.json.corrupt-"))).toBe(true)
  })

  it("with no copy left stops the opening", async () => {
    await mkdir(dir)
    await writeFile(file, '{"version":1,"services":[{"mani')
    await expect(open()).rejects.toMatchObject({ code: "storage_error", message: expect.stringContaining(file) })
    await writeFile(file, '{"version":1,"updatedAt":"2026-01-01T00:00:00Z","services":{}}')
    await expect(open()).rejects.toThrow("has no list of services")
  })

  it("edited by hand is taken when its owner takes the seal off", async () => {
    const registry = await open()
    const { id } = await registry.put(stdioManifest())
    await registry.patch(id, { desired: "stopped" })
    const { generation: _generation, checksum: _checksum, ...body } = await json()
    body.services[0].manifest.metadata.displayName = "By hand"
    await writeFile(file, JSON.stringify(body))
    const again = await open()
    expect(again.notices).toEqual([])
    expect(again.snapshot().services.get(id)).toMatchObject({
      desired: "stopped",
      revision: 2,
      manifest: { metadata: { displayName: "By hand" } },
    })
  })
})

describe("a 0.9 registry.json", () => {
  const origin = { type: "local_wasm", wasmPath: "/srv/ws/.clarity/build/ints.wasm", entry: "mcp_main", fuel: 7 }
  const legacy = (name: string, runtime: object, metadata: object = {}) => ({
    manifest: {
      apiVersion: "clarity.runtime/v1",
      kind: "MCPService",
      generatedBy: "clarityctl",
      metadata: { sourceFile: `/srv/ws/${name}.clarity`, module: name, serviceType: "mcp", agent: null, ...metadata },
      spec: {
        origin: { ...origin, env: [{ name: "A", value: "b", note: "?" }] },
        enabled: true,
        autostart: true,
        restartPolicy: { mode: "on-failure", maxRestarts: 5, windowSeconds: 60, jitter: true },
        policyRef: "default",
        toolNamespace: null,
      },
    },
    runtime: { lifecycle: "RUNNING", health: "HEALTHY", enabled: true, autostart: true, uptimeSeconds: 3, ...runtime },
    interfaceSnapshot: {
      interfaceRevision: "iface_0123456789ab",
      introspectedAt: "2026-02-03T04:05:06.000Z",
      tools: [{ name: `fn__${name}`, inputSchema: { type: "object" } }, { broken: true }],
      resources: [],
      prompts: [{ name: "greet" }],
    },
  })
  const services = [
    legacy("ints", {}),
    legacy("stopped", { lifecycle: "STOPPED" }),
    legacy("disabled", { enabled: false }),
    legacy("wild", { lifecycle: "QUARANTINED", lastError: "trap", lastHeartbeatAt: "2026-01-01T00:00:00.000Z" }),
    legacy("chosen", {}, { serviceId: "my-own-id" }),
    legacy("evil", {}, { serviceId: "../../etc/x" }),
    { manifest: { ...legacy("odd", {}).manifest, kind: "Toaster" } },
  ]
  const text = JSON.stringify({ version: 1, updatedAt: "2026-02-03T04:05:06.789Z", services }, null, 2)

  beforeEach(async () => {
    await mkdir(dir)
    await writeFile(file, text, { mode: 0o640 })
  })

  it("is read as it is, with what was wanted, and not touched by reading", async () => {
    const registry = await open()
    const byModule = new Map(
      [...registry.snapshot().services.values()].map((record) => [record.manifest.metadata.module, record]),
    )
    expect([...byModule.keys()]).toEqual(["ints", "stopped", "disabled", "wild", "chosen"])
    expect(byModule.get("ints")).not.toHaveProperty("desired")
    expect(byModule.get("stopped")).toMatchObject({ desired: "stopped" })
    expect(byModule.get("disabled")).toMatchObject({ desired: "stopped" })
    expect(byModule.get("wild")).toMatchObject({ quarantine: { reason: "trap", since: Date.UTC(2026, 0, 1) } })
    expect(byModule.get("chosen")?.id).toBe("my-own-id")
    const ints = byModule.get("ints")
    expect(ints?.id).toBe(serviceIdOf(ints?.manifest ?? stdioManifest()))
    expect(ints?.manifest.spec.origin).toEqual({
      type: "local_wasm",
      wasmPath: "/srv/ws/.clarity/build/ints.wasm",
      entry: "mcp_main",
      env: [{ name: "A", value: "b" }],
    })
    expect(registry.interfaceOf(ints?.id ?? "")).toMatchObject({
      tools: [{ name: "fn__ints" }],
      prompts: [{ name: "greet" }],
      capabilities: { tools: {}, prompts: {} },
    })
    expect(ints?.interface?.introspectedAt).toBe(Date.UTC(2026, 1, 3, 4, 5, 6))
    expect(registry.notices).toEqual([
      expect.stringMatching(
        /the record of "..\/..\/etc\/x" cannot be read and was kept aside: .*\$\.metadata\.serviceId/,
      ),
      expect.stringMatching(/the record of "odd" cannot be read and was kept aside: .*\$\.kind/),
    ])
    expect(await readdir(dir)).toEqual(["registry.json"])
    expect(await readFile(file, "utf8")).toBe(text)
  })

  it("is rewritten with the first change: original kept, unreadable records carried along, interfaces stored", async () => {
    const registry = await open()
    const before = registry.snapshot().services
    await registry.patch("my-own-id", { desired: "stopped" })
    await registry[Symbol.asyncDispose]()

    expect(await readFile(`${file}.v0.9`, "utf8")).toBe(text)
    expect((await stat(file)).mode & 0o777).toBe(0o640)
    expect(await json()).toMatchObject({ generation: 1, unreadable: [services[5], services[6]] })
    const again = await open()
    expect([...again.snapshot().services.keys()]).toEqual([...before.keys()])
    for (const id of before.keys()) expect(again.interfaceOf(id)).toEqual(registry.interfaceOf(id))
    expect(again.notices).toHaveLength(2)
    await again.patch("my-own-id", { desired: null })
    expect((await json()).unreadable).toHaveLength(2)
    expect(await readFile(`${file}.v0.9`, "utf8")).toBe(text)
  })

  it("keeps an id somebody chose for the same origin, and gives it to nobody else", async () => {
    const registry = await open()
    const chosen = registry.snapshot().services.get("my-own-id")
    const { serviceId: _id, ...metadata } = chosen?.manifest.metadata ?? stdioManifest().metadata
    const manifest = { ...(chosen?.manifest ?? stdioManifest()), metadata: { ...metadata, displayName: "New" } }
    expect(await registry.put(manifest)).toMatchObject({ id: "my-own-id", revision: 2 })
    const thief = wasmManifest({ name: "thief", metadata: { serviceId: "my-own-id" } })
    await expect(registry.put(thief)).rejects.toMatchObject({ code: "conflict" })
  })
})

it("loads 500 services with 20,000 tools, finds all of them, and reads each file once", async () => {
  const registry = await open()
  const names = Array.from({ length: 500 }, (_, index) => `service-${index}`)
  const records = await Promise.all(names.map((name) => registry.put(remoteManifest({ name }))))
  const tools = (id: string) => Array.from({ length: 40 }, (_, index) => ({ name: `${id}-${index}` }))
  await Promise.all(records.map(({ id }) => registry.storeInterface(id, { ...face("a"), tools: tools(id) }, 0)))
  await registry[Symbol.asyncDispose]()

  const counting = faultyFileSystem(Infinity)
  const again = await open(counting)
  const loaded = records.map(({ id }) => again.interfaceOf(id)?.tools.length ?? 0)
  expect(loaded.reduce((sum, count) => sum + count)).toBe(20_000)
  expect(counting.calls.filter((call) => call === "readAll").length).toBe(501)
}, 60_000)
