import { describe, expect, it } from "vitest"
import { createAlarms } from "./alarms.ts"

describe("alarms", () => {
  it("strike once, in the order they fall due, and not when they were cleared", async () => {
    const alarms = createAlarms()
    const struck: string[] = []
    const done = Promise.withResolvers<void>()
    alarms.set(120, () => {
      struck.push("late")
      done.resolve()
    })
    const cleared = alarms.set(1, () => struck.push("cleared"))
    const begun = performance.now()
    alarms.set(1, () => struck.push(performance.now() - begun >= 1 ? "soon" : "too soon"))
    alarms.clear(cleared)
    await done.promise
    expect(struck).toEqual(["soon", "late"])
  })

  it("may be set by one that strikes", async () => {
    const alarms = createAlarms()
    await new Promise<void>((resolve) => alarms.set(1, () => void alarms.set(1, resolve)))
    alarms.close()
    expect(alarms).toBeDefined()
  })
})
