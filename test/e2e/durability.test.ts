import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { serviceIdOf, parseManifest } from "@clarity-runtime/contracts"
import { afterAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { crashRounds } from "./support/crash.ts"
import { manifest, remote, startDaemon, temporaryDirectory, wasm, type Daemon } from "./support/daemon.ts"
import { callTool, namesOf, textOf } from "./support/mcp.ts"
import { alive, inRoot, processesOf } from "./support/process.ts"
import { stage, stdioActor } from "./support/stage.ts"

const soon = { timeout: 20_000 }
const workspaces: string[] = []
function fresh(): string {
  const workspace = temporaryDirectory()
  workspaces.push(workspace)
  return workspace
}
afterAll(() => workspaces.forEach((workspace) => rmSync(workspace, { recursive: true, force: true })))

const registryOf = (workspace: string) => join(workspace, ".clarity", "runtime", "registry.json")
const modulesOf = async (daemon: Daemon) =>
  (await daemon.client.listServices({})).items.map(({ module }) => module).toSorted()

describe("what was acknowledged", () => {
  it("breakage 2: thirty registrations at once all survive, a kill included", async () => {
    const workspace = fresh()
    const names = Array.from({ length: 30 }, (_, index) => `parallel_${String(index).padStart(2, "0")}`)
    const first = await startDaemon({ workspace })
    await Promise.all(
      names.map((name) =>
        first.client.applyManifest({ manifest: { ...manifest(name, wasm(`/x/${name}.wasm`), { autostart: false }) } }),
      ),
    )
    expect(await modulesOf(first)).toEqual(names)
    await first.stop("SIGKILL")
    JSON.parse(readFileSync(registryOf(workspace), "utf8"))
    const second = await startDaemon({ workspace })
    expect(await modulesOf(second)).toEqual(names)
    await second.stop()
  })

  it("is there after a kill at any moment, and the file always parses", async () => {
    const { lost, unreadable, acknowledged } = await crashRounds({ workspace: fresh(), rounds: 8, seed: 20_260_728 })
    expect([lost, unreadable]).toEqual([[], []])
    expect(acknowledged).toBeGreaterThan(8)
  })

  it("includes what an operator wanted: a stopped service stays stopped over a kill", async () => {
    const workspace = fresh()
    const first = await startDaemon({ workspace })
    const ids: string[] = []
    for (const name of ["kept", "halted"])
      ids.push((await first.register(manifest(name, stdioActor(stage(workspace, name))))).serviceId)
    await first.client.stopService({ id: String(ids[1]) })
    await first.stop("SIGKILL")
    const second = await startDaemon({ workspace })
    await expect.poll(() => second.state(String(ids[0])), soon).toBe("RUNNING HEALTHY")
    expect(await second.state(String(ids[1]))).toContain("STOPPED")
    expect((await namesOf(second.url)).filter((name) => name.startsWith("halted"))).toEqual([])
    await second.stop()
  })
})

describe("a registry of 0.9", () => {
  it("is read as it is, and rewritten at the first change only", async () => {
    const workspace = fresh()
    const local = {
      ...manifest("ints", wasm(inRoot("test/fixtures/clarity/ints.wasm"))),
      metadata: { sourceFile: inRoot("test/fixtures/clarity/ints.clarity"), module: "ints", serviceType: "mcp" },
    }
    const away = manifest("away", remote("http://127.0.0.1:9/mcp"))
    const runtime = {
      lifecycle: "RUNNING",
      health: "HEALTHY",
      enabled: true,
      autostart: true,
      uptimeSeconds: 5,
      restartCount: 1,
    }
    const policy = {
      restartPolicy: { mode: "on-failure", maxRestarts: 5, windowSeconds: 60 },
      policyRef: "default",
      enabled: true,
      autostart: true,
    }
    const record = (made: typeof away, more: object = {}) => ({
      manifest: { ...made, spec: { ...policy, ...made.spec }, unknownKey: "kept in 0.9" },
      runtime: { ...runtime, ...more },
    })
    const tool = { name: "look", description: "Looks.", inputSchema: { type: "object" } }
    const services = [
      record(local as typeof away),
      {
        ...record(away, { lastError: null }),
        interfaceSnapshot: {
          interfaceRevision: "iface_0123456789ab",
          introspectedAt: "2026-01-01T00:00:00.000Z",
          tools: [tool],
          resources: [],
          prompts: [],
        },
      },
      record(manifest("bad", wasm("/x/bad.wasm")), { lifecycle: "QUARANTINED" }),
      record(manifest("off", wasm("/x/off.wasm")), { lifecycle: "STOPPED" }),
    ]
    mkdirSync(join(workspace, ".clarity", "runtime"), { recursive: true })
    const text = JSON.stringify({ version: 1, updatedAt: "2026-01-01T00:00:00.000Z", services }, null, 2)
    writeFileSync(registryOf(workspace), text)

    const daemon = await startDaemon({ workspace })
    expect(await modulesOf(daemon)).toEqual(["away", "bad", "ints", "off"])
    const id = serviceIdOf(parseManifest(local))
    await expect.poll(() => daemon.state(id), soon).toBe("RUNNING HEALTHY")
    expect(textOf(await callTool(daemon.url, "ints__fn__plus", { a: 1, b: 2 }))).toBe("3")
    expect(await namesOf(daemon.url)).toContain("away__look")
    const states = Object.fromEntries(
      (await daemon.client.listServices({})).items.map(({ module, lifecycle }) => [module, lifecycle]),
    )
    expect(states).toMatchObject({ bad: "QUARANTINED", off: "STOPPED" })

    await daemon.client.stopService({ id })
    const written = JSON.parse(readFileSync(registryOf(workspace), "utf8")) as Record<string, unknown>
    expect(Object.keys(written)).toEqual(
      expect.arrayContaining(["version", "updatedAt", "services", "generation", "checksum"]),
    )
    expect(written["services"]).toHaveLength(4)
    expect(readFileSync(`${registryOf(workspace)}.v0.9`, "utf8")).toBe(text)
    await daemon.stop()
    const again = await startDaemon({ workspace })
    expect(await modulesOf(again)).toEqual(["away", "bad", "ints", "off"])
    expect(await again.state(id)).toContain("STOPPED")
    await again.stop()
  })
})

describe.runIf(process.platform === "linux")("processes", () => {
  async function running(workspace: string): Promise<{ daemon: Daemon; pids: number[] }> {
    const daemon = await startDaemon({ workspace })
    const pids: number[] = []
    for (const name of ["first", "second"]) {
      const { runtime } = await daemon.register(manifest(name, stdioActor(stage(workspace, name))))
      pids.push(Number(runtime.pid))
    }
    expect(pids.every(alive)).toBe(true)
    return { daemon, pids }
  }

  it.each(["SIGTERM", "SIGINT"] as const)("%s: the daemon ends in order and leaves none behind", async (signal) => {
    const workspace = fresh()
    const { daemon, pids } = await running(workspace)
    expect(await daemon.stop(signal)).toBe(0)
    expect(pids.filter(alive)).toEqual([])
    expect(processesOf(workspace)).toEqual([])
  })

  it("kill -9 of the daemon: none is left behind either, and the next daemon starts", async () => {
    const workspace = fresh()
    const { daemon, pids } = await running(workspace)
    expect(await daemon.stop("SIGKILL")).toBe("SIGKILL")
    await expect.poll(() => [...pids.filter(alive), ...processesOf(workspace)], soon).toEqual([])
    const next = await startDaemon({ workspace })
    expect(await namesOf(next.url)).toContain("first__echo")
    expect(textOf(await callTool(next.url, "second__echo", { text: "again" }))).toBe("again")
    await next.stop()
  })

  it("a call under way is finished before the daemon ends", async () => {
    const workspace = fresh()
    const scene = stage(workspace, "slow")
    const daemon = await startDaemon({ workspace })
    await daemon.register(manifest("slow", stdioActor(scene)))
    const call = callTool(daemon.url, "slow__hold", { key: "k" })
    await expect.poll(() => scene.events(), soon).toContain("start k")
    const stopped = daemon.stop()
    await expect.poll(() => daemon.program.stdout(), soon).toContain("is stopping")
    scene.release("k")
    expect(textOf(await call)).toBe("released k")
    expect(await stopped).toBe(0)
  })
})
