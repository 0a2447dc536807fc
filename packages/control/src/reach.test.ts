import { mkdtemp, realpath, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { asClarityError, emptyInterface, type CredentialBindings, type LoginDesk } from "@clarity-runtime/contracts"
import { stdioManifest, wasmManifest } from "@clarity-runtime/testkit"
import { beforeEach, describe, expect, it } from "vitest"
import { fakeContext } from "../test/fakes.ts"
import { admin, json, served } from "../test/serve.ts"
import type { ControlContext } from "./context.ts"
import { eachOperation, type OperationName } from "./operations/table.ts"
import { namesService } from "./reach.ts"
import { runOperation } from "./run-operation.ts"

const narrow = { id: "token:narrow", kind: "token" as const, scopes: ["admin" as const], reach: ["notes"] }
const some = { ...narrow, id: "token:some", reach: ["notes/read_*"] }

/** What an operation needs beside the id of a service. A new one that needs something gets its line here. */
const inputs: Partial<Record<OperationName, Record<string, unknown>>> = {
  applyManifest: { manifest: stdioManifest({ name: "another" }) },
  registerLocal: { wasmPath: "/x.wasm" },
  registerRemote: { endpoint: "https://x.example/mcp" },
  registerViaUrl: { url: "https://x.example/manifest.json" },
  validateAuthRef: { authRef: "file:a" },
  setAuthSecret: { authRef: "file:a", secret: "s" },
  deleteAuthSecret: { authRef: "file:a" },
  bindAuthRef: { authRef: "file:a" },
  unbindAuthRef: { authRef: "file:a" },
  getLogin: { login: "login_1" },
  createToken: { name: "mine", scopes: ["admin"] },
  revokeToken: { name: "canary" },
  explainPolicy: { tool: "canary__canary_tool" },
  testPolicy: { cases: [] },
  approveCall: { id: "ap_1" },
  denyCall: { id: "ap_1" },
  callTool: { tool: "notes__read_one" },
}

async function twoServices() {
  const made = fakeContext({ provisioning: true })
  const { registry, supervision, timeline, desk } = made
  const notes = (await registry.put(stdioManifest({ name: "notes" }))).id
  const canary = (await registry.put(stdioManifest({ name: "canary", metadata: { displayName: "Canary" } }))).id
  const tools = (...names: string[]) => ({ ...emptyInterface, tools: names.map((name) => ({ name })) })
  supervision.faces.set(notes, { ...tools("read_one", "write_one"), instructions: "use write_one" })
  supervision.faces.set(canary, tools("canary_tool"))
  for (const id of [notes, canary]) await supervision.start(id)
  supervision.asked.splice(0)
  for (const [id, word] of [
    [notes, "paper"],
    [canary, "canary"],
  ] as const) {
    timeline.logOf(id).write("stderr", `${word} log`)
    timeline.record({ kind: "mcp.tool_called", level: "info", message: `${word} called`, serviceId: id })
  }
  timeline.record({ kind: "auth.refused", level: "warn", message: "canary of the whole runtime" })
  desk.waiting = { ...desk.waiting, service: "canary" }
  const bindings: CredentialBindings = {
    list: () => [{ authRef: "file:canary", serviceId: canary, boundAt: "2026-01-01T00:00:00Z" }],
    bind: () => Promise.reject(new Error("must not be asked")),
    unbind: () => Promise.reject(new Error("must not be asked")),
  }
  const login = { id: "login_1", serviceId: canary, flow: "device", state: "waiting", expiresAt: 1 } as const
  const held = { serviceId: canary, issuer: "https://canary.example", resource: "r", scopes: [], renewable: false }
  const logins: LoginDesk = {
    begin: () => Promise.reject(new Error("must not be asked")),
    get: () => login,
    callback: () => Promise.reject(new Error("must not be asked")),
    list: () => [held],
    logout: () => Promise.reject(new Error("must not be asked")),
  }
  const context: ControlContext = {
    ...made.context,
    bindings,
    logins,
    info: () => ({ ...made.context.info(), notices: ["canary notice"] }),
  }
  return { ...made, context, notes, canary }
}

describe("every operation, for a caller of limited reach", () => {
  let made: Awaited<ReturnType<typeof twoServices>>
  beforeEach(async () => void (made = await twoServices()))

  async function outcome(name: OperationName, input: Record<string, unknown>, who = narrow): Promise<string> {
    const [, operation] = eachOperation().find(([each]) => each === name) ?? []
    if (operation === undefined) throw new Error(`no operation ${name}`)
    try {
      const caller = { principal: who, signal: new AbortController().signal }
      return JSON.stringify(await runOperation(made.context, operation, input, caller))
    } catch (thrown) {
      const { code, message } = asClarityError(thrown)
      return `${code}: ${message} ${code === "internal" ? String(thrown) : ""}`
    }
  }

  it.each(eachOperation().map(([name]) => name))(
    "%s tells nothing of another service and leaves it alone",
    async (name) => {
      const [, operation] = eachOperation().find(([each]) => each === name) ?? []
      const before = made.registry.snapshot().services.get(made.canary)
      const given = inputs[name] ?? {}
      if (operation !== undefined && namesService(operation)) {
        const unreached = await outcome(name, { ...given, id: made.canary })
        expect(unreached).toMatch(/^(not_found|forbidden): /)
        expect(unreached, "alike").toBe(
          (await outcome(name, { ...given, id: "svc_none" })).replace("svc_none", made.canary),
        )
      } else {
        const answer = await outcome(name, given)
        expect(answer, "`inputs` above needs a line for it").not.toMatch(/^(invalid_params|internal)/)
        if (!name.startsWith("explain")) expect(answer).not.toMatch(/canary/i)
        expect(answer).not.toContain(made.canary)
      }
      expect(made.registry.snapshot().services.get(made.canary)).toBe(before)
      expect(made.supervision.asked).toEqual([])
      expect(made.desk.asked.join()).not.toMatch(/canary|ap_1|reload/)
    },
  )

  it("is a sweep that would notice: who reaches everything gets to see all that", async () => {
    const { reach: _, ...all } = narrow
    for (const name of [
      "status",
      "listServices",
      "getAudit",
      "listApprovals",
      "listAuthBindings",
      "listLogins",
    ] as const)
      expect([name, await outcome(name, {}, all as typeof narrow)]).toEqual([name, expect.stringMatching(/canary/i)])
  })

  it("an `id` is a service's, or somebody thought about it", () => {
    const others = eachOperation().filter(([, one]) => "id" in one.input.entries && !namesService(one))
    expect(others.map(([name]) => name)).toEqual(["approveCall", "denyCall"])
    const about = eachOperation().filter(([, { input }]) =>
      ["serviceId", "service", "namespace"].some((key) => key in input.entries),
    )
    expect(about.map(([name]) => name)).toEqual(["getAudit", "callTool", "explainPolicy"])
  })
})

describe("a caller who reaches one service", () => {
  it("works with it as ever", async () => {
    const { context, notes, supervision } = await twoServices()
    const ask = served(context, narrow)
    expect(await json(await ask("GET", "/api/services"))).toMatchObject({ total: 1, items: [{ serviceId: notes }] })
    expect(await json(await ask("GET", "/api/status"))).toMatchObject({ summary: { total: 1 }, notices: [] })
    expect(await json(await ask("GET", `/api/services/${notes}/logs`))).toMatchObject({
      items: [{ text: "paper log" }],
    })
    expect(await json(await ask("GET", "/api/audit"))).toMatchObject({ items: [{ message: "paper called" }] })
    expect((await ask("POST", `/api/services/${notes}/restart`)).status).toBe(200)
    expect(supervision.asked).toEqual([`restart ${notes}`])
    expect((await ask("GET", "/api/logins/login_1")).status, "a login of another service").toBe(404)
    const refused = await ask("POST", "/api/config/reload", {})
    expect([refused.status, (await json(refused))["reason"]]).toEqual([403, "reach"])
  })

  it("gets whole pages of the audit, past all that is hidden", async () => {
    const { context, notes, canary, timeline } = await twoServices()
    for (let i = 0; i < 4500; i++)
      timeline.record({ kind: "x", level: "info", message: String(i), serviceId: i % 1500 === 0 ? notes : canary })
    const page = await json(await served(context, narrow)("GET", "/api/audit?limit=2"))
    expect(page["items"]).toMatchObject([{ message: "3000" }, { message: "1500" }])
    const next = await json(
      await served(context, narrow)("GET", `/api/audit?limit=9&cursor=${String(page["nextCursor"])}`),
    )
    expect(next).toMatchObject({ items: [{ message: "0" }, { message: "paper called" }], nextCursor: null })
  })

  it("follows what happens to it, and no other log", async () => {
    const { context, notes, canary, timeline } = await twoServices()
    const ask = served(context, narrow)
    expect((await ask("GET", `/api/services/${canary}/logs?follow=1`)).status).toBe(404)
    const reader = (await ask("GET", "/api/events?limit=0")).body?.pipeThrough(new TextDecoderStream()).getReader()
    await reader?.read()
    const next = reader?.read()
    await expect.poll(() => timeline.followers).toBe(1)
    timeline.record({ kind: "x", level: "info", message: "canary", serviceId: canary })
    timeline.record({ kind: "x", level: "info", message: "mine", serviceId: notes })
    expect((await next)?.value).toContain('"message":"mine"')
    await reader?.cancel()
  })

  it("cannot delete the module that a service it does not see runs", async () => {
    const buildRoot = await realpath(await mkdtemp(join(tmpdir(), "build-")))
    const { context, registry } = fakeContext({ buildRoot })
    const wasmPath = join(buildRoot, "a.wasm")
    await writeFile(wasmPath, "x")
    const { id } = await registry.put(wasmManifest({ name: "notes", origin: { wasmPath } }))
    await registry.put(
      wasmManifest({ name: "other", origin: { wasmPath, entry: "other" }, metadata: { sourceFile: "b" } }),
    )
    expect(registry.snapshot().services.size).toBe(2)
    const answer = await json(await served(context, narrow)("DELETE", `/api/services/${id}?cleanup_artifacts=true`))
    expect(answer).toMatchObject({ removed: true, artifactRemoved: false })
    expect((await stat(wasmPath)).size).toBe(1)
    await rm(buildRoot, { recursive: true })
  })
})

describe("a caller who reaches some tools of a service", () => {
  it("sees those, and neither its log nor what happened to it", async () => {
    const { context, notes, registry } = await twoServices()
    await registry.storeInterface(notes, { ...emptyInterface, tools: [{ name: "read_one" }, { name: "write_one" }] }, 0)
    const ask = served(context, some)
    for (const path of ["", "/interface", "/details", "/logs", "/events", "/drift"])
      expect(await (await ask("GET", `/api/services/${notes}${path}`)).text()).not.toMatch(/write_one|paper/)
    expect(await json(await ask("GET", `/api/services/${notes}/interface`))).toMatchObject({
      tools: [{ name: "read_one" }],
    })
    expect(await json(await ask("GET", "/api/status"))).toMatchObject({ services: [{ interface: { tools: 1 } }] })
  })

  it("changes nothing of it", async () => {
    const { context, notes, supervision } = await twoServices()
    const ask = served(context, some)
    for (const [method, path] of [
      ["POST", "/stop"],
      ["POST", "/introspect"],
      ["DELETE", ""],
    ] as const) {
      const response = await ask(method, `/api/services/${notes}${path}`)
      expect([response.status, (await json(response))["error"]]).toEqual([
        403,
        expect.stringContaining("only some tools"),
      ])
    }
    expect(supervision.asked).toEqual([])
  })

  it("sees approvals of those tools only", async () => {
    const { context, desk } = await twoServices()
    const total = async () => (await json(await served(context, some)("GET", "/api/approvals")))["total"]
    desk.waiting = { ...desk.waiting, service: "notes", target: "write_one" }
    expect(await total()).toBe(0)
    desk.waiting = { ...desk.waiting, target: "read_one" }
    expect(await total()).toBe(1)
  })
})

it("who reaches everything works on the runtime itself", async () => {
  const { context, canary } = await twoServices()
  expect((await served(context, admin)("GET", `/api/services/${canary}`)).status).toBe(200)
})
