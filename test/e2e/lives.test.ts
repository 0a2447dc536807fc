import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, remote, startDaemon, wasm, type Daemon } from "./support/daemon.ts"
import { callTool, eras, failureOf, namesOf, textOf } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"
import { serveActor, stage, stdioActor } from "./support/stage.ts"

/** One service of a kind, and what is particular about it. */
interface Kind {
  readonly manifest: ServiceManifestInput
  readonly tool: string
  readonly args: Record<string, unknown>
  readonly answer: string
  /** Makes the upstream offer one tool more, and says which. */
  grow(): string
}

let daemon: Daemon
const disposables: AsyncDisposable[] = []
beforeAll(async () => {
  daemon = await startDaemon()
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  for (const thing of disposables) await thing[Symbol.asyncDispose]()
})

const kinds: Record<string, () => Promise<Kind>> = {
  async wasm() {
    const build = join(daemon.workspace, ".clarity", "build")
    mkdirSync(build, { recursive: true })
    const put = (name: string) => {
      for (const end of ["wasm", "clarity"])
        copyFileSync(inRoot(`test/fixtures/clarity/${name}.${end}`), join(build, `life.${end}`))
    }
    put("bools")
    return {
      manifest: manifest("life_wasm", wasm(join(build, "life.wasm"))),
      tool: "fn__is_even",
      args: { n: -3 },
      answer: "false",
      grow() {
        put("floats")
        return "fn__hypot"
      },
    }
  },
  async stdio() {
    const scene = stage(daemon.workspace, "life-stdio")
    return {
      manifest: manifest("life_stdio", stdioActor(scene)),
      tool: "echo",
      args: { text: "hello" },
      answer: "hello",
      grow() {
        scene.setTools("one_more")
        return "one_more"
      },
    }
  },
  async remote() {
    const scene = stage(daemon.workspace, "life-remote")
    const upstream = await serveActor(scene)
    disposables.push(upstream)
    return {
      manifest: manifest("life_remote", remote(upstream.url)),
      tool: "echo",
      args: { text: "hello" },
      answer: "hello",
      grow() {
        scene.setTools("one_more")
        return "one_more"
      },
    }
  },
}

describe.each(Object.keys(kinds))("the life of a %s service", (name) => {
  let kind: Kind
  let id: string
  const namespace = `life_${name}`
  const call = () => callTool(daemon.url, `${namespace}__${kind.tool}`, kind.args)

  beforeAll(async () => {
    kind = await (kinds[name] as () => Promise<Kind>)()
  })

  it("is registered, runs and is healthy", async () => {
    const service = await daemon.register(kind.manifest)
    id = service.serviceId
    expect(service.namespace).toBe(namespace)
    expect(service.runtime).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    const again = await daemon.register(kind.manifest)
    expect([again.serviceId, again.revision]).toEqual([id, service.revision])
  })

  it.each(eras)("is listed and called by a client of the %s era, on both endpoints", async (era) => {
    expect(await namesOf(daemon.url, "tools", { era })).toContain(`${namespace}__${kind.tool}`)
    expect(await namesOf(daemon.url, "tools", { era, path: `/${namespace}` })).toContain(kind.tool)
    expect(textOf(await callTool(daemon.url, `${namespace}__${kind.tool}`, kind.args, { era }))).toBe(kind.answer)
    expect(textOf(await callTool(daemon.url, kind.tool, kind.args, { era, path: `/${namespace}` }))).toBe(kind.answer)
  })

  it("tells by introspection what the upstream changed, and the same interface has the same revision", async () => {
    const before = await daemon.client.getInterface({ id })
    const same = await daemon.client.introspectService({ id })
    expect(same.diff).toEqual({ added: [], removed: [], changed: [] })
    expect(same.interface.interfaceRevision).toBe(before.interfaceRevision)

    const added = kind.grow()
    const { diff, interface: after } = await daemon.client.introspectService({ id })
    expect(diff.added).toContain(`tool:${added}`)
    expect(after.interfaceRevision).not.toBe(before.interfaceRevision)
    expect(await namesOf(daemon.url)).toContain(`${namespace}__${added}`)
    if (name === "wasm") Object.assign(kind, { tool: added, args: { a: 3, b: 4 }, answer: "5" })
    expect(textOf(await call())).toBe(kind.answer)
  })

  it("leaves the list when it is stopped, and a call says so by name", async () => {
    const { service } = await daemon.client.stopService({ id })
    expect(service.runtime).toMatchObject({ lifecycle: "STOPPED", desired: "stopped" })
    expect((await namesOf(daemon.url)).filter((tool) => tool.startsWith(namespace))).toEqual([])
    const refused = await call()
    expect(refused["isError"]).toBe(true)
    expect(textOf(refused)).toContain(namespace)
    expect(textOf(refused).toLowerCase()).toContain("stopped")
    expect(failureOf(refused)).toMatchObject({ code: "unavailable", retryable: false, service: namespace })
    await expect(callTool(daemon.url, `${namespace}__no_such`)).rejects.toThrow("-32602 unknown tool")
  })

  it("starts again, and a second start changes nothing", async () => {
    const first = (await daemon.client.startService({ id })).service
    expect(first.runtime).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    const second = (await daemon.client.startService({ id })).service
    expect(second.runtime.pid).toBe(first.runtime.pid)
    expect(second.revision).toBe(first.revision)
    expect(textOf(await call())).toBe(kind.answer)
  })

  it("restarts under the same id, with its history", async () => {
    const before = (await daemon.client.getService({ id })).service
    const { service } = await daemon.client.restartService({ id })
    expect(service.serviceId).toBe(id)
    expect(service.runtime.lifecycle).toBe("RUNNING")
    if (name === "stdio") expect(service.runtime.pid).not.toBe(before.runtime.pid)
    const { items } = await daemon.client.getServiceEvents({ id })
    expect(items.map((event) => event.kind)).toEqual(expect.arrayContaining(["control.stop", "control.restart"]))
    expect(textOf(await call())).toBe(kind.answer)
  })

  it("is removed, and what it was made of goes only from the build folder", async () => {
    const gone = await daemon.client.removeService({ id, cleanupArtifacts: true })
    expect(gone).toMatchObject({ removed: true, serviceId: id, artifactRemoved: name === "wasm" })
    expect(existsSync(join(daemon.workspace, ".clarity", "build", "life.wasm"))).toBe(false)
    await expect(daemon.client.getService({ id })).rejects.toThrow(id)
    expect((await namesOf(daemon.url)).filter((tool) => tool.startsWith(namespace))).toEqual([])
    await expect(call()).rejects.toThrow(`-32602 unknown tool: ${namespace}__`)
  })
})

describe("removing with cleanup", () => {
  it("breakage 5: never deletes a file outside the build folder", async () => {
    const path = join(daemon.workspace, "precious.wasm")
    writeFileSync(path, "a plain text of somebody's")
    const { serviceId } = await daemon.register(manifest("precious", wasm(path)))
    const gone = await daemon.client.removeService({ id: serviceId, cleanupArtifacts: true })
    expect(gone.artifactRemoved).toBe(false)
    expect(gone.artifactKept).toContain("build folder")
    expect(existsSync(path)).toBe(true)
  })
})
