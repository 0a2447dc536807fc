import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { JsonObject, JudgedService, SourceSnapshot } from "@clarity-runtime/contracts"
import { nodeFileSystem, type FileSystem } from "@clarity-runtime/state"
import { fakeTelemetry } from "@clarity-runtime/testkit"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { call, ci, local, never, notes, permitOf, refusalOf } from "../test/cases.ts"
import { memoryPins, openPins, type Pins } from "./pins.ts"
import { standardPolicy } from "./policy.ts"
import { fixedRules } from "./rules-source.ts"

let folder: string
let files = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pins-"))
})
afterAll(() => rm(folder, { recursive: true }))
const freshPath = () => join(folder, `pins-${++files}.json`)

const search: JsonObject = {
  name: "search",
  title: "Search",
  description: "Finds notes.",
  inputSchema: { type: "object", properties: { q: { type: "string" } } },
  outputSchema: { type: "object" },
  annotations: { readOnlyHint: true },
  icons: [{ src: "https://x.example/i.png" }],
  _meta: { a: 1 },
}

const pinning = (pins: Pins, telemetry = fakeTelemetry(), pin = ["notes"]) =>
  standardPolicy({ rules: fixedRules({ apiVersion: "clarity.policy/v1", pin }), pins, telemetry })
const sees = (policy: ReturnType<typeof pinning>, service: JudgedService, tool: string) =>
  policy.visible(ci, service, "tool", tool)

describe("a pinned service", () => {
  it("has the tools it was first seen with", () => {
    const policy = pinning(memoryPins())
    expect(sees(policy, notes([search]), "search")).toBe(true)
    permitOf(policy.admit(call({ service: notes([search]) }), never()))
  })

  it.each([
    ["title", { title: "search" }],
    ["description", { description: "Finds notes. " }],
    ["inputSchema", { inputSchema: { type: "object", properties: { q: { type: "string", description: "x" } } } }],
    ["outputSchema", { outputSchema: {} }],
    ["annotations", { annotations: { readOnlyHint: true, destructiveHint: false } }],
    ["icons", { icons: [] }],
    ["_meta", { _meta: { a: 2 } }],
    ["execution", { execution: { taskSupport: "required" } }],
  ])("hides and refuses a tool with another %s, and says which field it is", (field, change) => {
    const policy = pinning(memoryPins())
    sees(policy, notes([search]), "search")
    const changed = notes([{ ...search, ...change }])
    expect(sees(policy, changed, "search")).toBe(false)
    expect(refusalOf(policy.admit(call({ service: changed }), never())).message).toBe("unknown tool: search")
    expect(policy.refusal(call({ service: changed, continued: true }))?.code).toBe("invalid_params")
    expect(policy.drifts(changed)).toEqual([
      { serviceId: "svc_notes", tool: "search", kind: "changed", fields: [field] },
    ])
  })

  it("does not mind in which order a definition is written", () => {
    const policy = pinning(memoryPins())
    sees(policy, notes([search]), "search")
    const turned = Object.fromEntries(Object.entries(search).reverse())
    expect(sees(policy, notes([turned]), "search")).toBe(true)
    expect(policy.drifts(notes([turned]))).toEqual([])
  })

  it("hides what is new, and tells what is gone", () => {
    const policy = pinning(memoryPins())
    sees(policy, notes(["a", "b"]), "a")
    const later = notes(["b", "c"])
    expect(["b", "c"].map((tool) => sees(policy, later, tool))).toEqual([true, false])
    expect(policy.drifts(later).map(({ tool, kind }) => [tool, kind])).toEqual([
      ["c", "new"],
      ["a", "gone"],
    ])
  })

  it("hides everything while its tools are not known, once some were approved", () => {
    const policy = pinning(memoryPins())
    const { interface: _face, ...unknown } = notes()
    expect(sees(policy, unknown, "search")).toBe(true)
    sees(policy, notes(), "search")
    expect(sees(policy, unknown, "search")).toBe(false)
  })

  it("a tool with the name of a prototype's member is a tool like others", async () => {
    const policy = pinning(memoryPins())
    const odd = JSON.parse('{"name":"__proto__","description":"1"}') as JsonObject
    sees(policy, notes([odd, "constructor"]), "search")
    const later = notes([{ ...odd, description: "2" }, "constructor", "toString"])
    expect(["__proto__", "constructor", "toString"].map((tool) => sees(policy, later, tool))).toEqual([
      false,
      true,
      false,
    ])
    await policy.approveTools(later, ["__proto__"], local)
    expect(["__proto__", "constructor", "toString"].map((tool) => sees(policy, later, tool))).toEqual([
      true,
      true,
      false,
    ])
  })

  it("hides no prompts and no resources", () => {
    const policy = pinning(memoryPins())
    sees(policy, notes(["a"]), "a")
    expect(policy.visible(ci, notes(["b"]), "prompt", "greet")).toBe(true)
  })
})

describe("approving", () => {
  it("takes all tools as they are, and tells that lists differ now", async () => {
    const telemetry = fakeTelemetry()
    const policy = pinning(memoryPins(), telemetry)
    sees(policy, notes(["a", "b"]), "a")
    const later = notes([{ name: "b", title: "B" }, "c"])
    const stop = new AbortController()
    const news = policy.changes(stop.signal)[Symbol.asyncIterator]().next()
    expect(await policy.approveTools(later, undefined, local)).toEqual(["b", "c"])
    expect((await news).done).toBe(false)
    stop.abort()
    expect(["b", "c"].map((tool) => sees(policy, later, tool))).toEqual([true, true])
    expect(policy.drifts(later)).toEqual([])
    expect(telemetry.events.at(-1)).toMatchObject({
      kind: "policy.tools_approved",
      message: expect.stringContaining("by local"),
    })
  })

  it("takes only those that are named", async () => {
    const policy = pinning(memoryPins())
    sees(policy, notes(["a"]), "a")
    const later = notes([{ name: "a", title: "A" }, "b"])
    expect(await policy.approveTools(later, ["b"], local)).toEqual(["b"])
    expect(["a", "b"].map((tool) => sees(policy, later, tool))).toEqual([false, true])
    await expect(policy.approveTools(later, ["zzz"], local)).rejects.toMatchObject({ code: "not_found" })
  })
})

describe("what is kept", () => {
  it("survives a restart", async () => {
    const path = freshPath()
    const pins = await openPins({ path })
    sees(pinning(pins), notes([search]), "search")
    await pins[Symbol.asyncDispose]()
    const again = await openPins({ path })
    const policy = pinning(again)
    expect(sees(policy, notes([search]), "search")).toBe(true)
    expect(sees(policy, notes([{ ...search, description: "evil" }]), "search")).toBe(false)
    await again[Symbol.asyncDispose]()
  })

  it("is never taken for nothing when it cannot be read", async () => {
    const path = freshPath()
    await writeFile(path, '{"version":1,"services":{')
    await expect(openPins({ path })).rejects.toMatchObject({ code: "storage_error" })
    expect((await readdir(folder)).filter((name) => name.startsWith(path.slice(folder.length + 1)))).toHaveLength(1)
  })

  it("hides a pinned service whose first tools cannot be kept, and tells", async () => {
    const telemetry = fakeTelemetry()
    let full = false
    const open: FileSystem["open"] = (...given) =>
      full ? Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" })) : nodeFileSystem.open(...given)
    const pins = await openPins({ path: freshPath(), telemetry, fs: { ...nodeFileSystem, open } })
    full = true
    const policy = pinning(pins, telemetry)
    const stop = new AbortController()
    const news = policy.changes(stop.signal)[Symbol.asyncIterator]().next()
    sees(policy, notes([search]), "search")
    await news
    stop.abort()
    expect(sees(policy, notes([search]), "search")).toBe(false)
    await expect(policy.approveTools(notes([search]), undefined, local)).rejects.toMatchObject({
      code: "storage_error",
    })
    expect(telemetry.events.map(({ kind }) => kind)).toContain("policy.pins_not_kept")
  })
})

describe("a service that is not pinned", () => {
  it("hides nothing, and its drift is told once for each interface", async () => {
    const telemetry = fakeTelemetry()
    const policy = pinning(memoryPins(telemetry), telemetry, [])
    const later = notes([{ ...search, description: "2" }, "new"])
    const snapshots = [notes([search]), later, later].map(
      (service, generation) => ({ generation, services: [service] }) as unknown as SourceSnapshot,
    )
    const source = {
      snapshot: () => snapshots[0] as SourceSnapshot,
      async *changes() {
        yield* snapshots
      },
    }
    await policy.follow(source, never())
    expect(sees(policy, later, "search")).toBe(true)
    expect(telemetry.events).toMatchObject([
      {
        kind: "policy.tools_drifted",
        message: "tools of notes are not as approved: 'search' is changed (description), 'new' is new",
      },
    ])
  })
})
