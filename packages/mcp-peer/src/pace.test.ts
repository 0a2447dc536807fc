import { describe, expect, it } from "vitest"
import { createPace } from "./pace.ts"
import { handClock } from "./testing/clock.ts"

describe("pace", () => {
  it("lets 500 messages in at once, and then 2,000 in a second", async () => {
    const clock = handClock()
    const pace = createPace(clock)
    for (let sent = 0; sent < 500; sent++) pace.unasked()
    expect(pace.restMs()).toBe(0)
    for (let sent = 0; sent < 200; sent++) pace.unasked()
    expect(pace.restMs()).toBe(100)
    await clock.pass(100)
    expect(pace.restMs()).toBe(0)
  })

  it("forgets what was long ago, and saves nothing up", async () => {
    const clock = handClock()
    const pace = createPace(clock)
    pace.waste(32 * 1024 * 1024)
    await clock.pass(60_000)
    expect(pace.restMs()).toBe(0)
    pace.waste(40 * 1024 * 1024)
    expect(pace.restMs()).toBe(1000)
  })
})
