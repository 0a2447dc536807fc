// What broke in 0.9 and is not somebody else's test already. The others carry their number in their name: `breakage 7`.
// Of the rest, 14 to 16 are held by test/conformance and the interop tests, 33 by `npm run bench`; 3, 4, 21 and 28 to 32
// belong to rooms that come later.
import { copyFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, startDaemon, temporaryDirectory, wasm, type Daemon } from "./support/daemon.ts"
import { ask, callTool, namesOf, textOf, type Message } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"
import { stage, stdioActor } from "./support/stage.ts"

const soon = { timeout: 20_000 }
let daemon: Daemon
beforeAll(async () => {
  daemon = await startDaemon()
})
afterAll(() => daemon[Symbol.asyncDispose]())
const runtimeOf = async (id: string) => (await daemon.client.getService({ id })).service.runtime

describe("breakage 15", () => {
  it("a failed tool is a result that a model can read, not a protocol error", async () => {
    await daemon.register(manifest("failing", stdioActor(stage(daemon.workspace, "failing"))))
    for (const era of ["legacy", "modern"] as const) {
      const { result } = (await ask(daemon.url, era, "tools/call", { name: "failing__fails" })) as Message
      expect(result).toMatchObject({ isError: true, content: [{ text: "failed on purpose" }] })
    }
  })

  it("what is advertised is served: resources, templates, prompts, completion and logging", async () => {
    const { result } = await ask(daemon.url, "legacy", "initialize", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "x", version: "1" },
    })
    expect(result.protocolVersion).toBe("2025-06-18")
    const methods: Record<string, string> = {
      tools: "tools/list",
      resources: "resources/templates/list",
      prompts: "prompts/list",
    }
    for (const capability of Object.keys(result.capabilities as object).filter((name) => name in methods)) {
      const listed = await ask(daemon.url, "legacy", String(methods[capability]))
      expect(listed["error"]).toBeUndefined()
    }
  })
})

describe("breakage 23", () => {
  it("a module that is compiled again and added again shows and runs what it is now", async () => {
    const path = join(daemon.workspace, "again.wasm")
    const put = (name: string, digest: string) => {
      for (const end of ["wasm", "clarity"])
        copyFileSync(inRoot(`test/fixtures/clarity/${name}.${end}`), path.replace("wasm", end))
      const plain = manifest("again", wasm(path))
      return daemon.register({ ...plain, metadata: { ...plain.metadata, artifactSha256: digest.repeat(64) } })
    }
    const before = await put("bools", "a")
    expect(textOf(await callTool(daemon.url, "again__fn__is_even", { n: 2 }))).toBe("true")
    const after = await put("floats", "b")
    expect(after.serviceId).toBe(before.serviceId)
    expect((await namesOf(daemon.url, "tools", { path: "/again" })).toSorted()).toContain("fn__hypot")
    expect(textOf(await callTool(daemon.url, "again__fn__hypot", { a: 3, b: 4 }))).toBe("5")
    await expect(callTool(daemon.url, "again__fn__is_even", { n: 2 })).rejects.toThrow("unknown tool")
  })
})

describe("breakage 24", () => {
  it("asking a service that cannot run what it offers keeps the reason and invents no tools", async () => {
    const { serviceId: id } = await daemon.register(manifest("missing", wasm("/no/such/module.wasm")))
    await expect(daemon.client.introspectService({ id })).rejects.toMatchObject({ code: "unavailable" })
    expect((await runtimeOf(id)).lastError).toContain("/no/such/module.wasm")
    expect((await daemon.client.getInterface({ id })).tools).toEqual([])
  })

  it("a service that is not enabled does not start, whoever asks", async () => {
    const scene = stage(daemon.workspace, "disabled")
    const { serviceId: id } = await daemon.register(manifest("disabled", stdioActor(scene), { enabled: false }))
    await expect(daemon.client.startService({ id })).rejects.toMatchObject({ code: "conflict" })
    expect(scene.events()).toEqual([])
    expect((await runtimeOf(id)).lifecycle).not.toBe("RUNNING")
  })
})

describe("breakage 25", () => {
  it("quarantine cannot be walked around by stopping and starting", async () => {
    const scene = stage(daemon.workspace, "locked-up")
    scene.breakIt()
    const restartPolicy = { mode: "on-failure", maxRestarts: 1, windowSeconds: 600 } as const
    const { serviceId: id } = await daemon.register(manifest("locked_up", stdioActor(scene), { restartPolicy }))
    await expect.poll(() => daemon.state(id), soon).toContain("QUARANTINED")
    scene.mend()
    await daemon.client.stopService({ id })
    await expect(daemon.client.startService({ id })).rejects.toMatchObject({ code: "conflict" })
    await expect(daemon.client.restartService({ id })).rejects.toMatchObject({ code: "conflict" })
    expect((await runtimeOf(id)).lifecycle).toBe("QUARANTINED")
    expect(scene.events()).toEqual([])
  })
})

describe("breakage 26", () => {
  it("autostart means something, and RUNNING is never read back from disk", async () => {
    const workspace = temporaryDirectory()
    const [eager, idle] = [stage(workspace, "eager"), stage(workspace, "idle")]
    const first = await startDaemon({ workspace })
    const a = await first.client.applyManifest({
      manifest: { ...manifest("eager", stdioActor(eager)) },
      startNow: true,
    })
    const b = await first.client.applyManifest({
      manifest: { ...manifest("idle", stdioActor(idle), { autostart: false }) },
    })
    expect(a.service.runtime.lifecycle).toBe("RUNNING")
    expect(idle.events()).toEqual([])
    await first.stop()
    eager.breakIt()
    const second = await startDaemon({ workspace })
    await expect.poll(() => second.state(a.service.serviceId), soon).toContain("CRASHED")
    expect(idle.events()).toEqual([])
    const started = await second.client.startService({ id: b.service.serviceId })
    expect(started.service.runtime.lifecycle).toBe("RUNNING")
    await second.stop()
  })
})
