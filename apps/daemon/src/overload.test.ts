import { describe, expect, it } from "vitest"
import { defaultOverloadLimits, watchOverload, type Load } from "./overload.ts"

const calm: Load = { eventLoopDelayMs: 21, heapShare: 0.2, inFlight: 200 }
const late: Load = { ...calm, eventLoopDelayMs: 900 }

function watched() {
  let see: (load: Load) => void = () => {}
  const overload = watchOverload(
    defaultOverloadLimits,
    () => 0,
    (judge) => {
      see = judge
      return { [Symbol.dispose]() {} }
    },
  )
  return (...loads: Load[]) =>
    loads.map((load) => {
      see(load)
      return overload.reason
    })
}

describe("overload", () => {
  it("is a loop that stays late, not one that was late once, and is over when it keeps up again", () => {
    expect(watched()(calm, late, calm, late, late, late, calm)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      "event_loop",
      "event_loop",
      undefined,
    ])
  })

  it("is a heap that is nearly full", () => {
    expect(watched()({ ...calm, heapShare: 0.9 }, calm)).toEqual(["heap", undefined])
  })

  it("is none while next to nothing is under way: there is nothing to shed", () => {
    const alone = { ...late, heapShare: 0.99, inFlight: 3 }
    expect(watched()(alone, alone, alone)).toEqual([undefined, undefined, undefined])
  })

  it("looks at the real process by itself", async () => {
    using overload = watchOverload({ eventLoopDelayMs: 1, heapShare: 0, minInFlight: 0 }, () => 1)
    await expect.poll(() => overload.reason).toBe("heap")
  })
})
