import type { McpResult } from "@clarity-runtime/contracts"
import { expect, it } from "vitest"
import { createAlarms } from "./alarms.ts"
import { replyResponse, type ReplyFormat } from "./reply-response.ts"

const format: ReplyFormat<number> = {
  streams: true,
  step() {
    throw new RangeError("too deep")
  },
  result: () => "result",
  error: ({ code }) => ({ text: code, status: 500 }),
}

it("a step that cannot be written ends the answer, and the call behind it", async () => {
  const ended = Promise.withResolvers<string>()
  async function* reply(): AsyncGenerator<number, McpResult, void> {
    try {
      yield 1
      return {}
    } finally {
      ended.resolve("ended")
    }
  }
  const ends = { hangUp() {}, done() {} }
  const response = await replyResponse(createAlarms(), reply(), format, ends)
  expect(await response.text()).toContain("data: internal")
  expect(await ended.promise).toBe("ended")
})
