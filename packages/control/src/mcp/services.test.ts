import { isJsonObject, metaKeys, type JsonObject, type Principal } from "@clarity-runtime/contracts"
import { callContext, collect, stdioManifest, textOf, toolCall } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { served } from "../../test/serve.ts"
import type { ControlContext } from "../context.ts"
import { controlServices } from "./services.ts"

const gated = [
  "apply_manifest",
  "delete_auth_secret",
  "register_local",
  "register_remote",
  "register_via_url",
  "set_auth_secret",
]
const open = [
  "auth_provider_health",
  "explain_policy",
  "get_audit",
  "get_drift",
  "get_logs",
  "get_service",
  "list_approvals",
  "list_auth_secrets",
  "list_services",
  "policy_status",
  "refresh_interface",
  "remove_service",
  "restart_service",
  "start_service",
  "status_summary",
  "stop_service",
  "unquarantine_service",
  "validate_auth_ref",
]

function tools(context: ControlContext) {
  const [service] = controlServices(context)
  if (service === undefined) throw new Error("no service")
  const call = async (name: string, args: JsonObject = {}, principal?: Principal) =>
    (await collect(service.backend.call(toolCall(name, args), callContext(principal ? { principal } : {})))).result
  return { ...service, call, names: service.interface.tools.map(({ name }) => name).sort() }
}

describe("what is offered", () => {
  it("leaves gated tools out unless provisioning is on", async () => {
    expect(tools(fakeContext().context).names).toEqual(open)
    expect(tools(fakeContext({ provisioning: true }).context).names).toEqual([...gated, ...open].sort())
    await expect(tools(fakeContext().context).call("apply_manifest", { manifest: {} })).rejects.toThrow(
      "unknown tool: apply_manifest",
    )
  })

  it("has closed schemas in snake_case, as the predecessor published them", () => {
    const { interface: face, definition } = tools(fakeContext({ provisioning: true }).context)
    expect(definition.namespace).toBe("runtime")
    for (const tool of face.tools) {
      expect(tool).toMatchObject({
        title: expect.any(String),
        inputSchema: { type: "object", additionalProperties: false },
        outputSchema: { type: "object" },
      })
      const schema = tool["inputSchema"] as { properties: JsonObject }
      expect(Object.keys(schema.properties).filter((key) => /[A-Z]/.test(key))).toEqual([])
    }
    const schemaOf = (name: string) => face.tools.find((tool) => tool.name === name)?.["inputSchema"]
    expect(schemaOf("get_logs")).toMatchObject({
      properties: { service_id: { type: "string" }, limit: { maximum: 2000, default: 200 } },
      required: ["service_id"],
    })
    expect(schemaOf("register_remote")).toMatchObject({
      required: ["endpoint"],
      properties: { start_now: { default: true }, allowed_tools: { type: "array" } },
    })
    expect(face.tools.find(({ name }) => name === "remove_service")).toMatchObject({
      annotations: { destructiveHint: true, readOnlyHint: false },
    })
  })
})

describe("a call", () => {
  it("gives the JSON of the route, as text and as structure", async () => {
    const { context, registry } = fakeContext()
    await registry.put(stdioManifest())
    const result = await tools(context).call("status_summary")
    const route = await (await served(context)("GET", "/api/status")).text()
    expect(`${textOf(result)}\n`).toBe(route)
    expect(result["structuredContent"]).toEqual(JSON.parse(route))
  })

  it.each([
    ["get_service", { service_id: "svc_none" }, "not_found", "service not found: svc_none"],
    ["get_service", {}, "invalid_params", "$.id is missing"],
    ["get_logs", { service_id: "x", limit: 0 }, "invalid_params", "$.limit"],
    ["list_services", { oops: 1 }, "invalid_params", "$.oops is not a known key"],
  ])("says what is wrong with %s %j", async (name, args, code, words) => {
    const result = await tools(fakeContext().context).call(name, args)
    expect(result["isError"]).toBe(true)
    expect(textOf(result)).toContain(words)
    const meta = result["_meta"]
    expect(isJsonObject(meta) && meta[metaKeys.error]).toMatchObject({ code, service: "runtime" })
  })

  it("does nothing for a caller without the scope", async () => {
    const { context, registry, supervision } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    const caller: Principal = { id: "token:model", kind: "token", scopes: ["read", "call"] }
    const { call } = tools(context)
    expect(textOf(await call("stop_service", { service_id: id }, caller))).toBe("stop_service needs the scope operate")
    expect(textOf(await call("remove_service", { service_id: id }, caller))).toBe(
      "remove_service needs the scope admin",
    )
    expect(supervision.asked).toEqual([])
    expect((await call("get_service", { service_id: id }, caller))["isError"]).toBeUndefined()
  })

  it("takes camelCase too", async () => {
    const { context, registry } = fakeContext()
    const { id } = await registry.put(stdioManifest())
    expect(await tools(context).call("remove_service", { id, cleanupArtifacts: false })).toMatchObject({
      structuredContent: { removed: true },
    })
  })

  it("hides a fault of its own and tells the operator", async () => {
    const { context, timeline } = fakeContext()
    const broken = {
      ...context,
      info: () => {
        throw new Error("canary")
      },
    }
    expect(textOf(await tools(broken).call("status_summary"))).toBe("internal error")
    expect(timeline.recorded.at(-1)).toMatchObject({ kind: "control.failed", level: "error" })
  })
})

describe("registering", () => {
  it("registers a remote server and waits until it runs", async () => {
    const { context, supervision, registry } = fakeContext({ provisioning: true })
    const result = await tools(context).call("register_remote", {
      endpoint: "https://a.example/mcp",
      auth_ref: "env:A",
      timeout_ms: 5000,
      allowed_tools: ["x"],
      display_name: "A",
    })
    expect(result["structuredContent"]).toMatchObject({
      service: { runtime: { lifecycle: "RUNNING" }, manifest: { metadata: { module: "a.example" } } },
    })
    expect(supervision.asked).toHaveLength(1)
    expect([...registry.snapshot().services.values()][0]?.manifest.spec.origin).toMatchObject({
      authRef: "env:A",
      timeoutMs: 5000,
      allowedTools: ["x"],
    })
  })

  it("registers a module by its path, and does not wait when told so", async () => {
    const { context, supervision } = fakeContext({ provisioning: true })
    const result = await tools(context).call("register_local", {
      wasm_path: "/b/Abacus.wasm",
      start_now: false,
      autostart: false,
    })
    expect(result["structuredContent"]).toMatchObject({
      service: { manifest: { metadata: { module: "Abacus" } }, runtime: { autostart: false } },
    })
    expect(supervision.asked).toEqual([])
  })

  it("refuses what breaks the manifest's schema, storing nothing", async () => {
    const { context, registry } = fakeContext({ provisioning: true })
    const { call } = tools(context)
    for (const args of [{ endpoint: "ftp://a" }, { endpoint: "https://u:p@a.example" }]) {
      expect(await call("register_remote", args)).toMatchObject({ isError: true })
    }
    expect(registry.snapshot().services.size).toBe(0)
  })

  it("fetches a manifest by URL only where that is wired, and only from allowed hosts", async () => {
    const { context } = fakeContext({ provisioning: true, allowedHosts: ["good.example"] })
    expect(textOf(await tools(context).call("register_via_url", { url: "https://good.example/m.json" }))).toContain(
      "switched off",
    )
    const wired = { ...context, fetchManifest: async (url: string) => ({ ...stdioManifest(), fetched: url }) }
    expect(textOf(await tools(wired).call("register_via_url", { url: "https://evil.example/m.json" }))).toContain(
      "url host 'evil.example'",
    )
    expect(textOf(await tools(wired).call("register_via_url", { url: "https://good.example/m.json" }))).toContain(
      "$.fetched is not a known key",
    )
  })

  it("keeps the registration of a quarantined service and says how it stands", async () => {
    const { context, supervision } = fakeContext({ provisioning: true })
    const { call } = tools(context)
    const applied = await call("apply_manifest", { manifest: stdioManifest(), start_now: false })
    const { service } = applied["structuredContent"] as { service: { serviceId: string } }
    const failing = {
      ...supervision,
      start: async () =>
        Promise.reject(new (await import("@clarity-runtime/contracts")).ClarityError("conflict", "quarantined")),
    }
    const again = await tools({ ...context, supervision: failing }).call("apply_manifest", {
      manifest: stdioManifest(),
    })
    expect(again).toMatchObject({ structuredContent: { service: { serviceId: service.serviceId } } })
  })
})
