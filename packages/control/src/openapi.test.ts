import { isJsonObject } from "@clarity-runtime/contracts"
import { remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import * as v from "valibot"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../test/fakes.ts"
import { served } from "../test/serve.ts"
import { controlApp } from "./http/app.ts"
import { openApiDocument } from "./openapi.ts"
import { eachOperation } from "./operations/table.ts"

describe("the document", () => {
  it("has every route of the app and no other", () => {
    const app = controlApp(fakeContext().context)
    const served = new Set(
      app.routes
        .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`)
        .filter((route) => !route.includes("openapi")),
    )
    const paths = openApiDocument()["paths"] as Record<string, Record<string, unknown>>
    const written = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(written.sort()).toEqual([...served].sort())
  })

  it("has one name for each operation, and every reference leads somewhere", () => {
    const document = openApiDocument()
    const text = JSON.stringify(document)
    const ids = [...text.matchAll(/"operationId":"(\w+)"/g)].map(([, id]) => id)
    expect(new Set(ids).size).toBe(ids.length)
    const { schemas } = document["components"] as { schemas: Record<string, unknown> }
    const references = new Set([...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref ?? ""))
    expect([...references].sort()).toEqual(
      ["Error", "Event", "Interface", "LogLine", "Manifest", "Service", "Summary"].map(
        (name) => `#/components/schemas/${name}`,
      ),
    )
    for (const reference of references) expect(schemas).toHaveProperty(reference.replace("#/components/schemas/", ""))
  })

  it("is served", async () => {
    const body: unknown = await (await served(fakeContext().context)("GET", "/api/openapi.json")).json()
    expect(isJsonObject(body) && body["openapi"]).toBe("3.1.0")
  })
})

it("tells the truth: what operations answer fits the shapes they promise, with nothing beside", async () => {
  const { context, registry, supervision, timeline } = fakeContext({ provisioning: true })
  const { id } = await registry.put(stdioManifest())
  const remote = await registry.put(remoteManifest({ name: "far", origin: { timeoutMs: 5 } }))
  const door = await registry.put(remoteManifest({ name: "door" }))
  await supervision.start(id)
  timeline.record({ kind: "mcp.tool_called", level: "info", message: "x", serviceId: id, data: { a: 1 } })
  timeline.logOf(id).write("stderr", "line")
  const inputs: Record<string, object> = {
    applyManifest: { manifest: stdioManifest({ name: "other" }), startNow: true },
    registerLocal: { wasmPath: "/a.wasm" },
    registerRemote: { endpoint: "https://x.example/mcp" },
    registerViaUrl: { url: "https://x.example/m.json" },
    callTool: { tool: "a__b" },
    explainPolicy: { tool: "echo__say", as: "token:ci" },
    testPolicy: { cases: [{ service: "echo" }] },
    approveCall: { id: "ap_1" },
    denyCall: { id: "ap_1" },
    setAuthSecret: { authRef: "file:a", secret: "s" },
    validateAuthRef: { authRef: "file:a" },
    deleteAuthSecret: { authRef: "file:a" },
    bindAuthRef: { authRef: "file:a", id: door.id },
    unbindAuthRef: { authRef: "file:a", id: door.id },
    beginLogin: { id: door.id },
    getLogin: { login: "login_1" },
    createToken: { name: "ci", scopes: ["call"], reach: ["echo"], expiresAt: "2027-01-01T00:00:00Z" },
    revokeToken: { name: "ci" },
    removeService: { id: remote.id, cleanupArtifacts: true },
  }
  const wired = { ...context, fetchManifest: async () => stdioManifest({ name: "fetched" }) }
  const caller = {
    principal: { id: "local", kind: "token" as const, scopes: ["admin" as const] },
    signal: new AbortController().signal,
  }
  for (const [name, operation] of eachOperation()) {
    const input = v.parse(operation.input, inputs[name] ?? ("id" in operation.input.entries ? { id } : {}))
    const value = await operation.run(wired, input, caller)
    // Objects drop what their schema does not name: what comes out equal was said in full.
    expect([name, v.parse(operation.output, value)]).toEqual([name, JSON.parse(JSON.stringify(value))])
    if (name === "unquarantineService" || name === "stopService") await supervision.start(id)
  }
})
