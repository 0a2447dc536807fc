import { expect, it } from "vitest"
import { openSse } from "./sse.ts"

it("cuts off a client that takes nothing while its call waits for it", async () => {
  const channel = openSse({ maxQueued: 1000, stalledMs: 20 })
  channel.send("x".repeat(900))
  await channel.drained()
  expect(channel.signal.aborted).toBe(true)
  expect(channel.send("more")).toBe(false)
  await expect(channel.response.text()).rejects.toThrow(/too slowly/)
})

it("waits for a client that takes its time", async () => {
  const channel = openSse({ maxQueued: 1000, stalledMs: 1000 })
  const reader = channel.response.body?.getReader()
  channel.send("x".repeat(900))
  const drained = channel.drained()
  await reader?.read()
  await drained
  expect(channel.signal.aborted).toBe(false)
  await reader?.cancel()
})
