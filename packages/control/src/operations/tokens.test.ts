import { describe, expect, it } from "vitest"
import { fakeContext } from "../../test/fakes.ts"
import { admin, json, served } from "../../test/serve.ts"
import { offeredTools } from "./table.ts"

function stage() {
  const made = fakeContext({ provisioning: true })
  return { ...made, held: made.tokens.held, ask: served(made.context) }
}

describe("tokens", () => {
  it("are made, listed and revoked; the value is in one answer and nowhere on record", async () => {
    const { ask, held, timeline } = stage()
    const wish = { name: "ci", scopes: ["call"], reach: ["notes/*"], expires_at: "2027-01-01T00:00:00Z" }
    const made = await ask("POST", "/api/tokens", wish)
    expect(made.headers.get("cache-control")).toBe("no-store")
    const info = { name: "ci", scopes: ["call"], reach: ["notes/*"], expiresAt: "2027-01-01T00:00:00Z" }
    expect(await json(made)).toMatchObject({ token: info, value: "clarity_CANARY" })
    expect(held).toMatchObject([info])
    const listed = await ask("GET", "/api/tokens")
    expect(await json(listed)).toMatchObject({ total: 1, items: [info] })
    expect(await json(await ask("DELETE", "/api/tokens/ci"))).toMatchObject({ token: info })
    expect((await ask("DELETE", "/api/tokens/ci")).status).toBe(404)
    expect(timeline.recorded).toMatchObject([
      { kind: "auth.token_created", message: "token ci made by local", data: { ...info, principal: "local" } },
      { kind: "auth.token_revoked", message: "token ci revoked by local" },
    ])
    expect(JSON.stringify([timeline.recorded, await (await ask("GET", "/api/audit")).text()])).not.toContain("CANARY")
  })

  it.each([
    [{}, "$.name is missing"],
    [{ name: "A", scopes: ["call"] }, "$.name must begin"],
    [{ name: "a".repeat(65), scopes: ["call"] }, "$.name"],
    [{ name: "a", scopes: [] }, "$.scopes"],
    [{ name: "a", scopes: ["root"] }, "$.scopes"],
    [{ name: "a", scopes: ["call"], reach: [] }, "$.reach"],
    [{ name: "a", scopes: ["call"], value: "mine" }, "$.value is not a known key"],
  ])("%j is refused before the store sees it", async (body, words) => {
    const { ask, held } = stage()
    const response = await ask("POST", "/api/tokens", body)
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining(words)])
    expect(held).toEqual([])
  })

  it("are the affair of administrators who reach everything, and of no tool", async () => {
    const { context, held } = stage()
    const body = { name: "more", scopes: ["admin"] }
    for (const who of [
      { ...admin, scopes: ["operate", "call", "read"] as const },
      { ...admin, reach: ["notes"] },
    ])
      for (const [method, path, given] of [
        ["POST", "/api/tokens", body],
        ["GET", "/api/tokens", undefined],
        ["DELETE", "/api/tokens/x", {}],
      ] as const)
        expect([method, (await served(context, who)(method, path, given)).status]).toEqual([method, 403])
    expect(held).toEqual([])
    expect(offeredTools(context).filter(([name]) => /token/i.test(name))).toEqual([])
  })

  it("are not there where none are kept", async () => {
    const { tokens: _, ...context } = fakeContext().context
    expect((await served(context)("GET", "/api/tokens")).status).toBe(404)
  })
})
