import { ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import { describe, expect, it } from "vitest"
import { errorText, notificationText, resultText } from "./rpc.ts"

/** What a service can send and nobody can write again. */
const deep = JSON.parse("[".repeat(100_000) + "]".repeat(100_000)) as unknown
const tooDeep = expect.objectContaining({ code: "upstream_invalid", data: { reason: "nesting" } })

describe("answers nested beyond what can be written", () => {
  it("are the service's fault, by name", () => {
    expect(() => resultText(1, { deep } as JsonObject)).toThrow(tooDeep)
    expect(() => notificationText("notifications/progress", { deep } as JsonObject)).toThrow(tooDeep)
  })

  it("are left out of an error that is passed on", () => {
    const error = new ClarityError("upstream_invalid", "no", { rpc: { code: 7, message: "no", data: deep } })
    expect(JSON.parse(errorText(1, error))).toEqual({ jsonrpc: "2.0", id: 1, error: { code: 7, message: "no" } })
  })
})
