import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { emptyInterface } from "@clarity-runtime/contracts"
import { remoteManifest, stdioManifest, wasmManifest } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { admin, json, reader, served } from "../../test/serve.ts"
import { eachOperation } from "../operations/table.ts"
import { routes, type Route } from "../routes.ts"

describe("who may do what", () => {
  it("refuses every route without a principal", async () => {
    const { context } = fakeContext()
    const app = (await import("./app.ts")).controlApp(context)
    for (const { method, path } of [
      ...Object.values(routes),
      { method: "GET", path: "/api/events" },
      { method: "GET", path: "/api/openapi.json" },
    ]) {
      const response = await app.request(path.replace(":id", "x"), { method })
      expect([method, path, response.status]).toEqual([method, path, 401])
    }
  })

  it("asks for the operation's scope before it looks at anything else", async () => {
    const { context, supervision, registry } = fakeContext({ provisioning: true })
    const ask = served(context, reader)
    for (const [name, { route, scope }] of eachOperation()) {
      if (route === undefined) continue
      const { method, path }: Route = routes[route]
      const response = await ask(method, path.replace(":id", "x"), method === "GET" ? undefined : {})
      expect([name, response.status === 403]).toEqual([name, scope !== "read"])
    }
    expect(supervision.asked).toEqual([])
    expect(registry.snapshot().services.size).toBe(0)
  })

  it("names the missing scope", async () => {
    const { context } = fakeContext()
    const body = await json(await served(context, reader)("POST", "/api/services/apply", { manifest: stdioManifest() }))
    expect(body).toEqual({
      error: "token:viewer may not do this: it needs the scope admin",
      code: "forbidden",
      retryable: false,
      reason: "insufficient_scope",
      scope: "admin",
    })
  })
})

describe("what comes in", () => {
  it.each([
    ["POST", "/api/services/apply", {}, 400, "$.manifest is missing"],
    ["POST", "/api/services/apply", { manifest: {}, approved: true }, 400, "$.approved is not a known key"],
    ["POST", "/api/services/apply", { manifest: { kind: "MCPService" } }, 422, "invalid manifest: $.apiVersion"],
    ["POST", "/api/services/apply", [], 400, "the body must be a JSON object"],
    ["POST", "/api/call", { tool: 7 }, 400, "$.tool must be string"],
    ["GET", "/api/audit?limitt=3", undefined, 400, "$.limitt is not a known key"],
    ["GET", "/api/audit?limit=3&limit=4", undefined, 400, "limit is given twice"],
    ["GET", "/api/services/svc_x/details?log_limit=1&logLimit=2", undefined, 400, "logLimit is given twice"],
    ["GET", "/api/services?cursor=rubbish", undefined, 400, "cursor is not one that was given out"],
    ["GET", "/api/services/svc_none", undefined, 404, "service not found: svc_none"],
    ["GET", "/api/services/__proto__", undefined, 404, "service not found: __proto__"],
    ["GET", "/api/services/a%0Ab", undefined, 404, "service not found: a?b"],
    ["POST", "/api/services/svc_none/start", undefined, 404, "service not found: svc_none"],
    ["DELETE", "/api/services/svc_none", undefined, 404, "service not found: svc_none"],
    ["POST", "/api/services/svc_none/start", { id: "svc_other" }, 400, "id is given twice"],
    ["POST", "/api/security/auth/secrets", { auth_ref: "file:a", secret: "s" }, 403, "provisioning is switched off"],
    ["DELETE", "/api/security/auth/secrets", { auth_ref: "file:a" }, 403, "provisioning is switched off"],
  ])("%s %s %j: %i", async (method, path, body, status, words) => {
    const { context } = fakeContext()
    const response = await served(context)(method, path, body)
    const text = await response.text()
    expect([response.status, text]).toEqual([status, expect.stringContaining(words)])
    expect(text).not.toMatch(/\n {4}at /)
    expect(text.endsWith("}\n")).toBe(true)
  })

  it("says nothing of a fault of its own", async () => {
    const { context, timeline } = fakeContext()
    const broken = {
      ...context,
      info: () => {
        throw new Error("secret path /root/x")
      },
    }
    const response = await served(broken)("GET", "/api/status")
    expect(response.status).toBe(500)
    expect(await json(response)).toEqual({ error: "internal error", code: "internal", retryable: false })
    expect(timeline.recorded.at(-1)).toMatchObject({
      kind: "control.failed",
      level: "error",
      message: "GET /api/status: secret path /root/x",
    })
  })

  it("holds a limit within its range and counts rubbish as not given", async () => {
    const { context, timeline } = fakeContext()
    for (let i = 0; i < 2100; i++) timeline.record({ kind: "x", level: "info", message: String(i) })
    const ask = served(context)
    const length = async (query: string) =>
      ((await json(await ask("GET", `/api/audit${query}`)))["items"] as unknown as unknown[]).length
    expect(await length("?limit=0")).toBe(1)
    expect(await length("?limit=2.9")).toBe(2)
    expect(await length("?limit=99999")).toBe(2000)
    expect(await length("?limit=many")).toBe(200)
    expect(await length("")).toBe(200)
  })
})

describe("services", () => {
  it("registers, starts, stops, removes", async () => {
    const { context, supervision, timeline } = fakeContext()
    const ask = served(context)
    const { service } = await json(await ask("POST", "/api/services/apply", { manifest: stdioManifest() }))
    const id = String(service?.["serviceId"])
    expect(service).toMatchObject({
      runtime: { lifecycle: "REGISTERED", health: "UNKNOWN" },
      manifest: { metadata: { serviceId: id } },
    })
    expect(supervision.asked).toEqual([])
    expect(await json(await ask("POST", `/api/services/${id}/start`))).toMatchObject({
      service: { serviceId: id, runtime: { lifecycle: "RUNNING", health: "HEALTHY", pid: 4711 } },
    })
    expect(await json(await ask("POST", `/api/services/${id}/stop`, {}))).toMatchObject({
      service: { runtime: { lifecycle: "STOPPED" } },
    })
    expect(await json(await ask("DELETE", `/api/services/${id}`, { cleanup_artifacts: true }))).toEqual({
      removed: true,
      serviceId: id,
      artifactRemoved: false,
      artifactKept: "the service has no compiled module",
    })
    expect(supervision.asked.at(-1)).toBe(`stop ${id}`)
    expect(timeline.forgotten).toEqual([id])
    expect((await ask("GET", `/api/services/${id}`)).status).toBe(404)
    expect(timeline.recorded.map(({ kind }) => kind)).toEqual([
      "control.apply",
      "control.start",
      "control.stop",
      "control.remove",
    ])
  })

  it("answers a failed start as a state with its reason, not as an error", async () => {
    const { context, supervision, registry } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    supervision.failures.set(id, { reason: "command not found: nope", hint: "install it" })
    const response = await served(context)("POST", `/api/services/${id}/start`)
    expect(response.status).toBe(200)
    expect(await json(response)).toMatchObject({
      service: { runtime: { lifecycle: "CRASHED", lastError: "command not found: nope", hint: "install it" } },
    })
  })

  it("restarts a running service whose manifest changed, and only starts one whose did not", async () => {
    const { context, supervision } = fakeContext()
    const ask = served(context)
    const apply = (args: string[]) =>
      ask("POST", "/api/services/apply", {
        manifest: stdioManifest({ metadata: { version: args.join() } }),
        start_now: true,
      })
    const id = String((await json(await apply(["a"])))["service"]?.["serviceId"])
    await apply(["a"])
    await apply(["b"])
    expect(supervision.asked).toEqual([`start ${id}`, `start ${id}`, `restart ${id}`])
  })

  it("shows a service that cannot be applied to a host outside the list", async () => {
    const { context, registry } = fakeContext({ allowedHosts: ["good.example"] })
    const response = await served(context)("POST", "/api/services/apply", {
      manifest: remoteManifest({ name: "evil" }),
    })
    expect([response.status, await json(response)]).toEqual([
      403,
      expect.objectContaining({ error: "endpoint host 'evil.example' is not in CLARITY_REMOTE_ALLOWED_HOSTS" }),
    ])
    expect(registry.snapshot().services.size).toBe(0)
  })

  it("lists newest first, page by page, and finds by name, id and beginning", async () => {
    const { context, registry } = fakeContext()
    const ids: string[] = []
    for (const name of ["alpha", "beta", "alphabet"]) ids.push((await registry.put(stdioManifest({ name }))).id)
    const ask = served(context)
    const page = async (query: string) => {
      const body = await json(await ask("GET", `/api/services${query}`))
      return {
        names: (body["items"] as unknown as { module: string }[]).map(({ module }) => module),
        next: body["nextCursor"] as unknown,
        total: body["total"],
      }
    }
    expect(await page("")).toEqual({ names: ["alphabet", "beta", "alpha"], next: null, total: 3 })
    const first = await page("?limit=2")
    expect(first.names).toEqual(["alphabet", "beta"])
    expect(await page(`?limit=2&cursor=${String(first.next)}`)).toEqual({ names: ["alpha"], next: null, total: 3 })
    await registry.remove(ids[1] ?? "")
    expect((await page(`?limit=2&cursor=${String(first.next)}`)).names).toEqual(["alpha"])
    expect((await page("?match=ALPHA")).names).toEqual(["alpha"])
    expect((await page("?match=alph")).names).toEqual(["alphabet", "alpha"])
    expect((await page(`?match=${ids[2]}`)).names).toEqual(["alphabet"])
    expect((await page(`?match=${ids[2]?.slice(4, 9)}`)).names).toEqual(["alphabet"])
    expect((await page("?match=none")).names).toEqual([])
  })

  it("tells no value of a variable, no argument that names a secret, no query of an endpoint", async () => {
    const { context, registry } = fakeContext()
    const { id } = await registry.put(
      stdioManifest({
        origin: {
          args: ["--api-key", "canary-1", "--token=canary-2", "plain", "https://u:canary-3@h.example/?k=canary-4"],
          env: [
            { name: "ANY", value: "canary-5" },
            { name: "REF", secretRef: "file:x" },
          ],
        },
      }),
    )
    const remote = await registry.put(remoteManifest({ origin: { endpoint: "https://r.example/mcp?key=canary-6" } }))
    const ask = served(context)
    for (const path of [
      `/api/services/${id}`,
      `/api/services/${id}/details`,
      `/api/services/${remote.id}/details`,
      "/api/status",
      "/api/services",
    ]) {
      expect(await (await ask("GET", path)).text()).not.toContain("canary")
    }
    expect(await json(await ask("GET", `/api/services/${id}`))).toMatchObject({
      service: {
        manifest: {
          spec: {
            origin: {
              args: ["--api-key", "***", "--token=***", "plain", "https://h.example/?k=***"],
              env: [
                { name: "ANY", set: true },
                { name: "REF", secretRef: "file:x" },
              ],
            },
          },
        },
      },
    })
  })

  it("deletes a module only where modules are built", async () => {
    const buildRoot = await realpath(await mkdtemp(join(tmpdir(), "build-")))
    const { context, registry } = fakeContext({ buildRoot })
    const inside = join(buildRoot, "a.wasm")
    await writeFile(inside, "x")
    const { id } = await registry.put(wasmManifest({ origin: { wasmPath: inside } }))
    expect(await json(await served(context)("DELETE", `/api/services/${id}?cleanup_artifacts=true`))).toEqual({
      removed: true,
      serviceId: id,
      artifactRemoved: true,
    })
    await rm(buildRoot, { recursive: true })
  })

  it("says what a new look at the interface found", async () => {
    const { context, registry, supervision } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    const ask = served(context)
    expect((await ask("POST", `/api/services/${id}/introspect`)).status).toBe(503)
    await supervision.start(id)
    supervision.faces.set(id, { ...emptyInterface, tools: [{ name: "hello" }] })
    expect(await json(await ask("POST", `/api/services/${id}/introspect`))).toMatchObject({
      interface: { serviceId: id, stale: false, tools: [{ name: "hello" }] },
      diff: { added: ["tool:hello"], removed: [], changed: [] },
    })
    expect(await json(await ask("GET", `/api/services/${id}/interface`))).toMatchObject({ tools: [{ name: "hello" }] })
  })
})

describe("history", () => {
  it("gives details within the limits asked for, in both spellings", async () => {
    const { context, registry, timeline } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    for (let i = 0; i < 5; i++) {
      timeline.logOf(id).write("stderr", `line ${i}`)
      timeline.record({ kind: "mcp.tool_called", level: "info", message: `call ${i}`, serviceId: id, data: { i } })
    }
    const body = await json(
      await served(context)("GET", `/api/services/${id}/details?log_limit=2&event_limit=3&callLimit=1`),
    )
    expect(body["logs"]).toEqual([
      "[2026-01-01T00:00:04.000Z] stderr: line 4",
      "[2026-01-01T00:00:03.000Z] stderr: line 3",
    ])
    expect((body["events"] as unknown as { seq: number }[]).map(({ seq }) => seq)).toEqual([5, 4, 3])
    expect(body["recentCalls"]).toEqual([{ at: "2026-01-01T00:00:04.000Z", message: "call 4", data: { i: 4 } }])
    expect(Object.keys(body)).toEqual(["serviceId", "summary", "service", "interface", "logs", "events", "recentCalls"])
  })

  it("pages through the audit", async () => {
    const { context, timeline } = fakeContext()
    for (let i = 1; i <= 5; i++)
      timeline.record({ kind: i % 2 ? "service.x" : "mcp.y", level: "info", message: String(i) })
    const ask = served(context)
    const seqs = async (query: string) => {
      const body = await json(await ask("GET", `/api/audit${query}`))
      return [(body["items"] as unknown as { seq: number }[]).map(({ seq }) => seq), body["nextCursor"]]
    }
    expect(await seqs("?limit=2")).toEqual([[5, 4], "4"])
    expect(await seqs("?limit=2&cursor=4")).toEqual([[3, 2], "2"])
    expect(await seqs("?limit=2&before=2")).toEqual([[1], null])
    expect(await seqs("?kind=mcp.")).toEqual([[4, 2], null])
  })
})

describe("secrets and calls", () => {
  it("verifies the durable audit, against a head noted earlier too", async () => {
    const { context } = fakeContext()
    const ask = served(context, admin)
    expect(await json(await ask("POST", "/api/audit/verify", {}))).toMatchObject({ ok: true, records: 2, problems: [] })
    const expectation = `7:${"a".repeat(64)}`
    expect(await json(await ask("POST", "/api/audit/verify", { expect: expectation }))).toMatchObject({
      problems: [{ what: "record 7 is not in the chain" }],
    })
    for (const wrong of ["7", "7:abc", `-1:${"a".repeat(64)}`])
      expect((await ask("POST", "/api/audit/verify", { expect: wrong })).status).toBe(400)
    const { audit: _, ...without } = context
    expect((await served(without, admin)("POST", "/api/audit/verify", {})).status).toBe(409)
  })

  it("stores, lists, checks and deletes a secret without ever telling it", async () => {
    const { context, credentials, timeline } = fakeContext({ provisioning: true })
    const ask = served(context)
    const texts = [
      await (await ask("POST", "/api/security/auth/secrets", { auth_ref: "file:a", secret: "canary" })).text(),
      await (await ask("GET", "/api/security/auth/secrets")).text(),
      await (await ask("GET", "/api/security/auth/validate?auth_ref=file:a")).text(),
      await (await ask("POST", "/api/security/auth/validate", { authRef: "file:a" })).text(),
      await (await ask("GET", "/api/security/auth/providers")).text(),
    ]
    expect(credentials.values.get("file:a")).toBe("canary")
    expect(texts[2]).toBe(texts[3])
    expect(texts[1]).toContain('"count": 1')
    expect(await json(await ask("DELETE", "/api/security/auth/secrets", { auth_ref: "file:a" }))).toMatchObject({
      deleted: true,
    })
    expect([...texts, JSON.stringify(timeline.recorded)].join()).not.toContain("canary")
  })

  it("calls through the gateway, with the arguments as they came", async () => {
    const { context } = fakeContext()
    const body = await json(
      await served(context, admin)("POST", "/api/call", { tool: "a__b", arguments: { constructor: 1, x: [2] } }),
    )
    expect(body["result"]).toEqual({
      content: [{ type: "text", text: 'local {"name":"a__b","arguments":{"constructor":1,"x":[2]}}' }],
    })
    expect(await json(await served(context)("POST", "/api/call", { tool: "asks__back" }))).toMatchObject({
      result: { isError: true },
    })
  })
})
