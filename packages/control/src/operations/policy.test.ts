import type { TokenInfo } from "@clarity-runtime/contracts"
import { stdioManifest } from "@clarity-runtime/testkit"
import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { admin, json, reader, served } from "../../test/serve.ts"
import { controlServices } from "../mcp/services.ts"

const narrow = { id: "token:narrow", kind: "token" as const, scopes: ["admin" as const], reach: ["other"] }
const ci: TokenInfo = { name: "ci", scopes: ["call"], reach: ["echo/say"], createdAt: "2026-01-01T00:00:00Z" }

async function withEcho() {
  const made = fakeContext()
  const { id } = await made.registry.put(stdioManifest())
  const tokens = {
    list: () => [ci],
    create: () => Promise.reject(new Error("not here")),
    revoke: () => Promise.reject(new Error("not here")),
  }
  const context = { ...made.context, tokens }
  return { ...made, context, id, ask: served(context) }
}

describe("explaining", () => {
  it("takes a tool by its exposed name, or by its own with the service", async () => {
    const { ask, desk, id } = await withEcho()
    const answer = await json(await ask("POST", "/api/policy/explain", { tool: "echo__a__b" }))
    expect(answer).toMatchObject({ service: "echo", target: "a__b", method: "tools/call", effect: "deny", rule: "r" })
    await ask("POST", "/api/policy/explain", { resource: "file:///x", service: "echo" })
    expect(desk.asked).toEqual([
      expect.stringContaining(`tools/call ${id} a__b`),
      expect.stringContaining(`resources/read ${id} file:///x`),
    ])
  })

  it("decides for a token with the scopes and the reach it has", async () => {
    const { ask, desk, id } = await withEcho()
    await ask("POST", "/api/policy/explain", { tool: "echo__say", as: "token:ci" })
    expect(desk.asked).toEqual([`explain token:ci call echo/say tools/call ${id} say`])
  })

  it("says what it takes somebody for whom it does not know", async () => {
    const { ask, desk } = await withEcho()
    const answer = await json(await ask("POST", "/api/policy/explain", { tool: "echo__say", as: "token:gone" }))
    expect(answer).toMatchObject({ steps: [expect.stringContaining("token:gone is not known here"), "one"] })
    expect(desk.asked[0]).toContain("explain token:gone read+call all")
  })

  it("knows the runtime's own tools", async () => {
    const { ask, desk } = await withEcho()
    expect((await ask("POST", "/api/policy/explain", { tool: "runtime__status_summary" })).status).toBe(200)
    expect(desk.asked[0]).toContain("tools/call runtime status_summary")
  })

  it.each([
    [{}, 400, "give one of tool, prompt and resource"],
    [{ tool: "a__b", prompt: "c" }, 400, "give one of"],
    [{ tool: "plain" }, 400, "which service has plain"],
    [{ tool: "none__x" }, 404, "service not found: none"],
  ])("refuses %j", async (body, status, words) => {
    const { ask } = await withEcho()
    const response = await ask("POST", "/api/policy/explain", body)
    expect([response.status, await response.text()]).toEqual([status, expect.stringContaining(words)])
  })

  it("knows no service that its caller does not reach", async () => {
    const { context } = await withEcho()
    expect((await served(context, narrow)("POST", "/api/policy/explain", { tool: "echo__say" })).status).toBe(404)
  })
})

describe("approvals", () => {
  it("are decided in the name of the caller", async () => {
    const { ask, desk } = await withEcho()
    expect(await json(await ask("GET", "/api/approvals"))).toMatchObject({ total: 1, items: [{ id: "ap_1" }] })
    const answer = await json(await ask("POST", "/api/approvals/ap_1/approve"))
    expect(answer).toMatchObject({ approval: { id: "ap_1", state: "granted", rule: null } })
    expect(desk.asked).toEqual([`decide ap_1 true ${admin.id}`])
    expect((await ask("POST", "/api/approvals/ap_2/deny")).status).toBe(404)
  })

  it("are listed only for services that the caller reaches", async () => {
    const { context } = await withEcho()
    expect(await json(await served(context, narrow)("GET", "/api/approvals"))).toEqual({ total: 0, items: [] })
  })

  it("cannot be decided by reading, nor by any tool", async () => {
    const { context, desk } = await withEcho()
    expect((await served(context, reader)("POST", "/api/approvals/ap_1/approve")).status).toBe(403)
    const names = controlServices({ ...context, settings: { ...context.settings, provisioning: true } }).flatMap(
      (service) => service.interface.tools.map(({ name }) => name),
    )
    expect(names.filter((name) => /approve|deny|decide|reload|test_policy/.test(name))).toEqual([])
    expect(desk.asked).toEqual([])
  })
})

describe("drift", () => {
  it("is approved as it was looked at, and not otherwise", async () => {
    const { ask, desk, id, supervision } = await withEcho()
    await supervision.start(id)
    const drift = await json(await ask("GET", `/api/services/${id}/drift`))
    expect(drift).toMatchObject({ namespace: "echo", items: [{ tool: "t", kind: "changed", fields: ["description"] }] })
    const stale = await ask("POST", `/api/services/${id}/approve-tools`, { revision: "iface_other" })
    expect([stale.status, await stale.text()]).toEqual([409, expect.stringContaining("changed again meanwhile")])
    expect(desk.asked.filter((asked) => asked.startsWith("approve"))).toEqual([])
    const body = {
      tools: ["t"],
      ...(drift["interfaceRevision"] === null ? {} : { revision: drift["interfaceRevision"] }),
    }
    expect(await json(await ask("POST", `/api/services/${id}/approve-tools`, body))).toEqual({
      serviceId: id,
      approved: ["t"],
    })
    expect(desk.asked.at(-1)).toBe(`approve ${id} t ${admin.id}`)
  })
})

it("a service that an operator starts anew is forgiven its failures", async () => {
  const { ask, desk, id } = await withEcho()
  for (const what of ["start", "restart", "stop"]) await ask("POST", `/api/services/${id}/${what}`)
  expect(desk.asked).toEqual([`forgive ${id}`, `forgive ${id}`])
})

it("cases are tried among the services that are known, the runtime's own tools too", async () => {
  const { ask, desk } = await withEcho()
  const body = { cases: [{ service: "echo" }], rules: { apiVersion: "x" } }
  expect(await json(await ask("POST", "/api/policy/test", body))).toMatchObject({
    failed: 1,
    results: [{ problem: "no" }],
  })
  expect(desk.asked).toEqual([`test [{"service":"echo"}] {"apiVersion":"x"} echo runtime`])
})

it("says so where no rules are kept", async () => {
  const { policy: _none, ...context } = fakeContext().context
  const response = await served(context)("GET", "/api/policy")
  expect([response.status, await response.text()]).toEqual([409, expect.stringContaining("keeps no rules")])
})
