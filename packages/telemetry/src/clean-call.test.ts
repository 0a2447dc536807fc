import type { JsonObject } from "@clarity-runtime/contracts"
import { array, assert, constantFrom, dictionary, double, oneof, property, string } from "fast-check"
import { describe, expect, it } from "vitest"
import { boundedCopy } from "./bounded-copy.ts"
import { createCleanCheck, type Cleanable } from "./clean-call.ts"

const call: Cleanable = { level: "info", message: "tools/call echo: ok", serviceId: "svc_1" }
const secret = "Bearer abcdefgh"

describe("the look at a call's record", () => {
  it.each<[string, Partial<Cleanable>, boolean]>([
    [
      "names and numbers",
      { data: { tool: "echo", durationMs: 1.5, arguments: [{ name: "text", type: "string" }] } },
      true,
    ],
    ["a secret in the message", { message: secret }, false],
    ["a secret in a text", { data: { client: secret } }, false],
    ["a secret in a list", { data: { arguments: [{ name: secret }] } }, false],
    ["a field that is a secret by name", { data: { password: "x" } }, false],
    ["a field of an odd name", { data: { "a\nb": 1 } }, false],
    ["a line break", { data: { client: "a\nb" } }, false],
    ["half a character", { data: { client: "\ud800" } }, false],
    ["no number", { data: { durationMs: Number.NaN } }, false],
    ["nothing", { data: { client: undefined } }, false],
    ["depth", { data: { a: [{ b: { c: 1 } }] } }, false],
    ["a level nobody knows", { level: "loud" }, false],
    ["a long text", { data: { error: "x".repeat(300) } }, false],
  ])("%s", (_what, given, clean) => {
    const isClean = createCleanCheck()
    for (let again = 0; again < 2; again++) expect(isClean({ ...call, ...given })).toBe(clean)
  })

  it("lets through only what cleaning would leave as it is", () => {
    const isClean = createCleanCheck()
    const texts = oneof(
      string({ unit: "binary" }),
      constantFrom(secret, "token=abc", "sk-abcdefgh", "echo", "a\u202eb"),
    )
    const leaf = oneof(texts, double(), constantFrom(true, false))
    const names = oneof(string(), constantFrom("tool", "apiKey", "requestId", "__proto__"))
    const data = dictionary(names, oneof(leaf, array(dictionary(names, leaf))))
    assert(
      property(data, (found) => {
        const given = found as JsonObject
        if (!isClean({ ...call, data: given })) return
        expect(boundedCopy(given, { bytes: 1e9 })).toEqual(JSON.parse(JSON.stringify(given)))
      }),
      { numRuns: 2000 },
    )
  })

  it("remembers no more than its bound", () => {
    const isClean = createCleanCheck()
    for (let n = 0; n < 10_000; n++) expect(isClean({ ...call, data: { tool: `tool-${n}` } })).toBe(true)
    expect(isClean({ ...call, data: { tool: secret } })).toBe(false)
  })
})
