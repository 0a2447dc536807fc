import { expect, test } from "vitest"
import { usageOf } from "./usage.ts"

const of = (usage: unknown, more: object = {}) => usageOf({ content: [], _meta: { usage, ...more } })

test("reads what a service states, under each of the usual names", () => {
  const expected = { model: "m", inputTokens: 10, outputTokens: 5, tokens: 15 }
  expect(of({ input_tokens: 10, output_tokens: 5 }, { model: "m" })).toEqual(expected)
  expect(of({ prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, model: "m" })).toEqual(expected)
  expect(of({ inputTokens: 10, outputTokens: 5, model: "m" })).toEqual(expected)
  expect(of({ promptTokens: 10, completionTokens: 5, totalTokens: 15, model: "m" })).toEqual(expected)
})

test("takes a larger total, and never a smaller one", () => {
  expect(of({ input_tokens: 10, output_tokens: 5, total_tokens: 40 })?.tokens).toBe(40)
  expect(of({ input_tokens: 10, output_tokens: 5, total_tokens: 1 })?.tokens).toBe(15)
  expect(of({ total_tokens: 7 })).toEqual({ inputTokens: 0, outputTokens: 0, tokens: 7 })
})

test.each([
  undefined,
  null,
  "12",
  [12],
  {},
  { input_tokens: "12" },
  { input_tokens: -1 },
  { input_tokens: 1.5 },
  { input_tokens: Number.MAX_SAFE_INTEGER },
  { output_tokens: null, total_tokens: true },
])("states nothing with %j", (usage) => {
  expect(of(usage, { model: "m" })).toBeUndefined()
})

test("has no model where none is named, and looks nowhere but in _meta", () => {
  for (const model of [5, "", "x".repeat(257)]) expect(of({ input_tokens: 1 }, { model })).not.toHaveProperty("model")
  expect(usageOf({ usage: { input_tokens: 1 }, structuredContent: { usage: { input_tokens: 1 } } })).toBeUndefined()
})
