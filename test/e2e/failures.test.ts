import { equal } from "node:assert/strict"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, remote, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import { callTool, failureOf, namesOf, textOf } from "./support/mcp.ts"
import { alive, killProcess } from "./support/process.ts"
import { serveActor, stage, stdioActor, type Stage } from "./support/stage.ts"

let daemon: Daemon
const disposables: AsyncDisposable[] = []
beforeAll(async () => {
  daemon = await startDaemon()
  await daemon.register(manifest("neighbour", stdioActor(stage(daemon.workspace, "neighbour"))))
})
afterEach(async () => {
  // Whatever a service did, nobody else has noticed.
  equal(textOf(await callTool(daemon.url, "neighbour__echo", { text: "here" })), "here")
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  for (const thing of disposables) await thing[Symbol.asyncDispose]()
})

const soon = { timeout: 20_000 }
const runtimeOf = async (id: string) => (await daemon.client.getService({ id })).service.runtime

describe("a stdio service that dies", () => {
  let scene: Stage
  let id: string
  beforeAll(async () => {
    scene = stage(daemon.workspace, "mortal")
    id = (await daemon.register(manifest("mortal", stdioActor(scene)))).serviceId
  })

  it("under a writing call: the outcome is unknown, and nothing is written twice", async () => {
    const result = await callTool(daemon.url, "mortal__die_once_writing")
    expect(result["isError"]).toBe(true)
    expect(failureOf(result)).toMatchObject({ code: "outcome_unknown", retryable: false, service: "mortal" })
    expect(textOf(result)).toMatch(/may have/)
    expect(textOf(await callTool(daemon.url, "mortal__echo", { text: "back" }))).toBe("back")
    expect(scene.events().filter((event) => event === "written")).toHaveLength(1)
  })

  it("under a reading call: the call is repeated on the next process", async () => {
    expect(textOf(await callTool(daemon.url, "mortal__die_once"))).toBe("survived")
  })

  it("between calls: a new process answers the next one", async () => {
    await expect.poll(async () => (await runtimeOf(id)).pid, soon).toBeTypeOf("number")
    const { pid, restartCount } = await runtimeOf(id)
    killProcess(pid)
    expect(textOf(await callTool(daemon.url, "mortal__echo", { text: "again" }))).toBe("again")
    const after = await runtimeOf(id)
    expect(after.pid).not.toBe(pid)
    expect(after.restartCount).toBeGreaterThanOrEqual(restartCount)
    expect(alive(Number(pid))).toBe(false)
  })
})

describe("a stdio service that crashes at every start", () => {
  it("is quarantined, stays so over a restart of the daemon, and runs again when a person lets it", async () => {
    const workspace = temporaryDirectory()
    const scene = stage(workspace, "crashing")
    scene.breakIt()
    const policy = { mode: "on-failure", maxRestarts: 2, windowSeconds: 600 } as const
    const first = await startDaemon({ workspace })
    const { serviceId: id } = await first.register(manifest("crashing", stdioActor(scene), { restartPolicy: policy }))
    await expect.poll(() => first.state(id), soon).toContain("QUARANTINED")
    const { runtime } = (await first.client.getService({ id })).service
    expect(runtime.lastError).toContain("exited with code 7")
    expect(runtime.hint).toContain("unquarantine")
    const { lines } = await first.client.getLogs({ id })
    expect(lines.join("\n")).toContain("broken on purpose")
    await expect(first.client.startService({ id })).rejects.toMatchObject({ code: "conflict" })
    await first.stop()

    const second = await startDaemon({ workspace })
    disposables.push(second)
    scene.mend()
    expect(await second.state(id)).toContain("QUARANTINED")
    expect(scene.events()).toEqual([])
    await expect(second.client.startService({ id })).rejects.toMatchObject({ code: "conflict" })
    const { service } = await second.client.unquarantineService({ id })
    expect(service.runtime).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    expect(textOf(await callTool(second.url, "crashing__echo", { text: "well" }))).toBe("well")
  })

  it("breakage 25: is not brought down by callers; wrong arguments count against nobody", async () => {
    const { serviceId: id } = await daemon.register(manifest("patient", stdioActor(stage(daemon.workspace, "patient"))))
    for (let i = 0; i < 12; i++) {
      expect((await callTool(daemon.url, "patient__fails"))["isError"]).toBe(true)
      await expect(callTool(daemon.url, "patient__no_such_tool")).rejects.toThrow("-32602")
    }
    expect(await daemon.state(id)).toBe("RUNNING HEALTHY")
  })
})

describe("a remote service that goes away", () => {
  it("is still listed, marked stale, says where it is, and comes back by itself", async () => {
    const upstream = await serveActor(stage(daemon.workspace, "away"))
    disposables.push(upstream)
    const { serviceId: id } = await daemon.register(manifest("away", remote(upstream.url)))
    await upstream.kill()
    const waiting = callTool(daemon.url, "away__echo", { text: "back" })
    await expect.poll(() => daemon.state(id), soon).toContain("UNREACHABLE")
    expect(await namesOf(daemon.url)).toContain("away__echo")
    expect((await runtimeOf(id)).hint).toBeTypeOf("string")

    // The call waits for its own service, which is tried again by itself.
    await upstream.revive()
    expect(textOf(await waiting)).toBe("back")
    await expect.poll(() => daemon.state(id), soon).toBe("RUNNING HEALTHY")
  })

  it("is listed from the stored interface when the daemon starts without it", async () => {
    const workspace = temporaryDirectory()
    const upstream = await serveActor(stage(workspace, "offline"))
    disposables.push(upstream)
    const first = await startDaemon({ workspace })
    const { serviceId: id } = await first.register(manifest("offline", remote(upstream.url)))
    await first.stop()
    await upstream.kill()
    const second = await startDaemon({ workspace })
    disposables.push(second)
    expect(await namesOf(second.url)).toContain("offline__echo")
    const face = await second.client.getInterface({ id })
    expect(face).toMatchObject({ stale: true })
    expect(face.tools.length).toBeGreaterThan(5)
    expect(await second.state(id)).not.toContain("HEALTHY")
    await upstream.revive()
    await expect.poll(() => second.state(id), { timeout: 30_000 }).toBe("RUNNING HEALTHY")
    expect((await second.client.getInterface({ id })).stale).toBe(false)
  })

  it("under a writing call: the outcome is unknown", async () => {
    const scene = stage(daemon.workspace, "cut")
    const upstream = await serveActor(scene)
    disposables.push(upstream)
    await daemon.register(manifest("cut", remote(upstream.url)))
    const result = await callTool(daemon.url, "cut__die_once_writing")
    expect(failureOf(result)).toMatchObject({ code: "outcome_unknown", service: "cut" })
    expect(scene.events().filter((event) => event === "written")).toHaveLength(1)
    expect(textOf(await callTool(daemon.url, "cut__die_once"))).toBe("survived")
  })
})

describe("a caller that hangs up", () => {
  it.each(["stdio", "remote"])("ends the work at the %s service", async (kind) => {
    const scene = stage(daemon.workspace, `hangup-${kind}`)
    const upstream = await serveActor(scene)
    disposables.push(upstream)
    const origin = kind === "stdio" ? stdioActor(scene) : remote(upstream.url)
    await daemon.register(manifest(`hangup_${kind}`, origin))
    const caller = new AbortController()
    const call = callTool(daemon.url, `hangup_${kind}__hold`, { key: "k" }, { signal: caller.signal })
    const ended = expect(call).rejects.toThrow()
    await expect.poll(() => scene.events(), soon).toContain("start k")
    caller.abort()
    await ended
    await expect.poll(() => scene.events(), soon).toContain("cancelled k")
    expect(textOf(await callTool(daemon.url, `hangup_${kind}__echo`, { text: "next" }))).toBe("next")
  })
})

describe("one dead service among others", () => {
  it("hides nothing but itself, and the status says so", async () => {
    const { serviceId, runtime } = await daemon.register(
      manifest("dead", { type: "local_stdio", command: "/no/such/program" }),
    )
    expect(runtime.lifecycle).not.toBe("RUNNING")
    expect(runtime.lastError).toContain("/no/such/program")
    const status = await daemon.client.status({})
    expect(status.services.find((service) => service.serviceId === serviceId)?.reason).toContain("/no/such/program")
    expect(await namesOf(daemon.url)).toContain("neighbour__echo")
  })
})
