import { afterEach, expect, it } from "vitest"
import { messages, modern, served, type Served } from "../test-support/served.ts"

let at: Served | undefined
afterEach(async () => at?.[Symbol.asyncDispose]())

it("whoever keeps books is told what the answer weighed and what the service says it cost", async () => {
  const usage = { input_tokens: 12, output_tokens: 30, model: "m-1" }
  const result = { content: [{ type: "text", text: "é" }], _meta: { usage } }
  at = await served([{ namespace: "paid", tools: { ask: () => result, fail: () => Promise.reject(new Error("no")) } }])
  await messages(await modern(at, "tools/call", { name: "paid__ask" }))
  await messages(await modern(at, "tools/call", { name: "paid__fail" }))
  const [asked, failed] = at.policy.settled
  expect(asked?.resultBytes).toBe(Buffer.byteLength(JSON.stringify(result)))
  expect(asked?.usage).toEqual({ model: "m-1", inputTokens: 12, outputTokens: 30, tokens: 42 })
  expect([failed?.kind, failed?.resultBytes, failed?.usage]).toEqual(["rejected", 0, undefined])
})
