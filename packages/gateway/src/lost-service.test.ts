import { ClarityError, type McpRequest, type Reply } from "@clarity-runtime/contracts"
import { afterEach, describe, expect, it } from "vitest"
import { messages, modern, served, type Served } from "../test-support/served.ts"

let at: Served
afterEach(() => at[Symbol.asyncDispose]())

/** A service that loses its first calls with an error and answers the next; says how often it was called. */
async function losing(error: () => ClarityError, losses: number, annotations?: object) {
  let calls = 0
  // oxlint-disable-next-line require-yield -- it answers in one step
  async function* call(_request: McpRequest): Reply {
    calls += 1
    if (calls <= losses) throw error()
    return { content: [{ type: "text", text: `answered at call ${calls}` }] }
  }
  const tool = { name: "work", inputSchema: { type: "object" }, ...(annotations ? { annotations } : {}) }
  at = await served([{ namespace: "frail", call, face: { tools: [tool] } }])
  const [answer] = await messages(await modern(at, "tools/call", { name: "frail__work" }))
  return { calls, result: answer?.["result"] as Record<string, unknown> }
}

const unknown = () => new ClarityError("outcome_unknown", "frail went away", { data: { service: "frail" } })
const unsent = () => new ClarityError("unavailable", "frail is not connected")

describe("a call whose service is lost under it", () => {
  it.each([{ readOnlyHint: true }, { idempotentHint: true }])(
    "is made again where that does no harm: %j",
    async (hints) => {
      const { calls, result } = await losing(unknown, 1, hints)
      expect(calls).toBe(2)
      expect(result["content"]).toMatchObject([{ text: "answered at call 2" }])
    },
  )

  it("is never made again when it may have been executed", async () => {
    const { calls, result } = await losing(unknown, 1, { readOnlyHint: false, destructiveHint: false })
    expect(calls).toBe(1)
    expect(JSON.stringify(result)).toContain("outcome_unknown")
  })

  it("is made again when nothing of it was sent, but only once", async () => {
    expect(await losing(unsent, 1)).toMatchObject({ calls: 2, result: { content: [{ text: "answered at call 2" }] } })
    await at[Symbol.asyncDispose]()
    expect(await losing(unsent, 5)).toMatchObject({ calls: 2, result: { isError: true } })
  })

  it("is not made again for a service that is only busy, or when it speaks of another one", async () => {
    for (const data of [{ reason: "http_503" }, { retryAfterMs: 100 }, { service: "other" }]) {
      const { calls } = await losing(() => new ClarityError("unavailable", "not now", { data }), 1)
      expect(calls).toBe(1)
      await at[Symbol.asyncDispose]()
    }
    at = await served([])
  })
})
