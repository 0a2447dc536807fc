import { ClarityError, type CallOutcome } from "@clarity-runtime/contracts"
import { manualClock } from "@clarity-runtime/testkit"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { createBreaker, forgottenAfterMs, longestOpenMs, longestProbeMs, type Breaker, type Pass } from "./breaker.ts"

const rule = { consecutive: 5, windowSeconds: 60, minCalls: 8, errorRate: 0.6, openSeconds: 30 }
const ended = (kind: CallOutcome["kind"]): CallOutcome => ({ kind, durationMs: 1 })

function broken(over: Partial<typeof rule> = {}) {
  const clock = manualClock()
  const breaker = createBreaker({ clock, ...rule, ...over })
  return { clock, breaker, ...driverOf(breaker) }
}

function driverOf(breaker: Breaker) {
  function enter(service = "a"): Pass {
    const pass = breaker.admit(service)
    if (pass instanceof ClarityError) throw pass
    return pass
  }
  const call = (kind: CallOutcome["kind"], times = 1) => {
    for (let i = 0; i < times; i++) enter().settle("a", ended(kind))
  }
  const refused = (service = "a") => {
    const error = breaker.admit(service, "notes")
    if (!(error instanceof ClarityError)) throw new Error("was let through")
    return error
  }
  return { enter, call, refused, state: () => breaker.list()[0]?.state ?? "closed" }
}

describe("a circuit", () => {
  test("opens at the fifth fault in a row and says when to come again", async () => {
    const { call, refused, clock } = broken()
    call("upstream_error", 5)
    await clock.advance(10_000)
    expect(refused()).toMatchObject({
      code: "unavailable",
      data: { service: "notes", reason: "circuit_open", retryAfterMs: 20_000 },
    })
  })

  test.each(["tool_error", "rejected", "cancelled", "ok"] as const)("stays closed whatever ends as %s", (kind) => {
    const { call, breaker } = broken()
    call(kind, 100)
    expect(breaker.list()).toEqual([])
  })

  test("counts in a row only what no sign of life interrupts; what tells nothing interrupts nothing", () => {
    const { call, refused, enter } = broken({ minCalls: 100 })
    for (const life of ["ok", "tool_error"] as const) {
      call("upstream_error", 4)
      call(life)
    }
    enter().settle("a", ended("ok"))
    for (const silence of ["rejected", "cancelled"] as const) {
      call("upstream_error", 2)
      call(silence)
    }
    call("upstream_error")
    refused()
  })

  test("opens by the share of faults in the window, from so many calls on", () => {
    const mixed = ["upstream_error", "upstream_error", "ok", "upstream_error", "tool_error", "upstream_error"] as const
    const { call, enter, refused } = broken()
    for (const kind of mixed) call(kind)
    call("ok")
    enter().settle("a", ended("upstream_error"))
    // 5 of 8 were faults.
    refused()
    const few = broken()
    for (const kind of [...mixed, "upstream_error"] as const) few.call(kind)
    // 5 of 7 are more, but of too few calls.
    few.enter()
    const rare = broken()
    for (let i = 0; i < 40; i++) for (const kind of ["upstream_error", "ok"] as const) rare.call(kind)
    rare.enter()
  })

  test("lets the window pass over old faults", async () => {
    const { call, clock, enter, breaker } = broken({ consecutive: 1000 })
    call("upstream_error", 7)
    await clock.advance(61_000)
    expect(breaker.list()).toEqual([])
    call("upstream_error", 7)
    enter()
    expect(breaker.list()).toMatchObject([{ failures: 7, state: "closed" }])
    call("upstream_error")
    expect(breaker.list()).toMatchObject([{ failures: 8, state: "open", retryAfterMs: 30_000 }])
  })

  test("lets one probe through when its time has come, and nobody beside it", async () => {
    const { call, clock, enter, refused, state } = broken()
    call("upstream_error", 5)
    await clock.advance(30_000)
    expect(state()).toBe("half_open")
    const probe = enter()
    for (let i = 0; i < 10; i++) expect(refused().data.retryAfterMs).toBe(1000)
    probe.settle("a", ended("tool_error"))
    expect(state()).toBe("closed")
    call("upstream_error", 4)
    enter()
  })

  test.each(["cancelled", "rejected"] as const)("gives the place of a probe that was %s to the next", async (kind) => {
    const { call, clock, enter, refused } = broken()
    call("upstream_error", 5)
    await clock.advance(30_000)
    const probe = enter()
    probe.settle("a", ended(kind))
    const next = enter()
    probe.settle("a", ended("cancelled"))
    refused()
    next.settle("a", ended("ok"))
    enter()
  })

  test("stays open longer every time, up to 300 s, and begins anew after long good time", async () => {
    const { call, clock, refused, enter } = broken()
    call("upstream_error", 5)
    for (let n = 1; n <= 12; n++) {
      const openMs = Math.min(n * 30_000, longestOpenMs)
      expect(refused().data.retryAfterMs).toBe(openMs)
      await clock.advance(openMs - 1)
      refused()
      await clock.advance(1)
      enter().settle("a", ended("upstream_error"))
    }
    await clock.advance(longestOpenMs)
    call("ok")
    await clock.advance(forgottenAfterMs - 1)
    call("upstream_error", 5)
    expect(refused().data.retryAfterMs).toBe(longestOpenMs)
    await clock.advance(longestOpenMs)
    call("ok")
    await clock.advance(forgottenAfterMs)
    call("upstream_error", 5)
    expect(refused().data.retryAfterMs).toBe(30_000)
  })

  test("does not listen to calls from before it opened: they neither close nor open it, nor free its probe", async () => {
    const { call, clock, enter, refused, state } = broken()
    const late = Array.from({ length: 30 }, () => enter())
    const [life, cancelled, ...faults] = late
    call("upstream_error", 5)
    life?.settle("a", ended("ok"))
    refused()
    await clock.advance(30_000)
    const probe = enter()
    cancelled?.settle("a", ended("cancelled"))
    refused()
    probe.settle("a", ended("ok"))
    for (const pass of faults) pass.settle("a", ended("upstream_error"))
    expect(state()).toBe("closed")
    expect(enter()).toBeDefined()
  })

  test("gives up a probe that never ends", async () => {
    const { call, clock, enter, refused, state } = broken()
    call("upstream_error", 5)
    await clock.advance(30_000)
    const lost = enter()
    await clock.advance(longestProbeMs - 1)
    expect(refused().data.retryAfterMs).toBe(1)
    await clock.advance(1)
    const next = enter()
    lost.settle("a", ended("ok"))
    refused()
    next.settle("a", ended("ok"))
    expect(state()).toBe("closed")
  })

  test("goes by no wall clock", () => {
    const { call, clock, refused } = broken()
    call("upstream_error", 5)
    clock.setWallClock(clock.now() + 31_536_000_000)
    expect(refused().data.retryAfterMs).toBe(30_000)
  })

  test("is one per service, and forgiven by itself", async () => {
    const { call, clock, enter, refused, breaker } = broken()
    call("upstream_error", 5)
    enter("b").settle("b", ended("ok"))
    breaker.forgive("a")
    const fresh = enter()
    call("upstream_error", 5)
    await clock.advance(30_000)
    const probe = enter()
    breaker.forgive("a")
    fresh.settle("a", ended("ok"))
    probe.settle("a", ended("upstream_error"))
    call("upstream_error", 4)
    enter()
    call("upstream_error")
    // Forgiven twice: it is the first opening again.
    expect(refused().data.retryAfterMs).toBe(30_000)
    breaker.forgive("unknown")
  })

  test("stays open under another rule, which holds from then on", async () => {
    const { call, clock, enter, refused, breaker } = broken()
    call("upstream_error", 5)
    breaker.reconfigure({ ...rule, consecutive: 2, windowSeconds: 10 })
    refused()
    await clock.advance(30_000)
    enter().settle("a", ended("ok"))
    call("upstream_error", 2)
    refused()
  })

  test("is handed out as one object to all calls of a service that is well", () => {
    const { enter } = broken()
    const first = enter()
    for (let i = 0; i < 100; i++) {
      expect(enter()).toBe(first)
      first.settle("a", ended("ok"))
    }
  })
})

describe("many services", () => {
  test("are not remembered for ever, but for those that are open", async () => {
    const { breaker, clock, enter } = broken()
    for (let i = 0; i < 5; i++) enter("bad").settle("bad", ended("upstream_error"))
    for (let i = 0; i < 5000; i++) enter(`s${i}`).settle(`s${i}`, ended("upstream_error"))
    await clock.advance(20_000)
    expect(breaker.list().find(({ serviceId }) => serviceId === "bad")?.state).toBe("open")
    await clock.advance(50_000)
    for (let i = 0; i < 10_000; i++) enter(`t${i}`)
    expect(breaker.list().map(({ serviceId }) => serviceId)).toEqual(["bad"])
  })
})

type Step = { readonly wait: number } | { readonly enter: true } | { readonly settle: number; readonly kind: number }

test("whatever happens: never two probes, and never more than two openings in a minute", async () => {
  const kinds = ["ok", "tool_error", "upstream_error", "upstream_error", "rejected", "cancelled"] as const
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 1, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 40_000 }) }) },
    { weight: 4, arbitrary: fc.record({ enter: fc.constant(true as const) }) },
    { weight: 4, arbitrary: fc.record({ settle: fc.nat(), kind: fc.nat(kinds.length - 1) }) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), fc.constantFrom(1, 2, 5), (steps, consecutive) => {
      let now = 0
      const clock = { now: () => 0, monotonic: () => now, sleep: () => Promise.resolve() }
      const breaker = createBreaker({ clock, ...rule, consecutive })
      const state = () => breaker.list()[0]?.state ?? "closed"
      const underWay: { pass: Pass; probe: boolean; since: number }[] = []
      const openings: number[] = []
      for (const each of steps) {
        const before = state()
        if ("wait" in each) now += each.wait
        else if ("enter" in each) {
          const pass = breaker.admit("a")
          if (pass instanceof ClarityError) expect(before).not.toBe("closed")
          else underWay.push({ pass, probe: before !== "closed", since: now })
          expect(before === "open" && !(pass instanceof ClarityError)).toBe(false)
        } else {
          const [call] = underWay.splice(each.settle % Math.max(1, underWay.length), 1)
          const kind = kinds[each.kind] as CallOutcome["kind"]
          call?.pass.settle("a", ended(kind))
          if (before !== "open" && state() === "open") openings.push(now)
          if (call?.probe === false && before !== "closed") expect(state()).toBe(before)
        }
        const probes = underWay.filter(({ probe, since }) => probe && now - since < longestProbeMs)
        expect(probes.length).toBeLessThanOrEqual(1)
      }
      for (const [at, moment] of openings.entries())
        expect((openings[at + 2] ?? Number.POSITIVE_INFINITY) - moment).toBeGreaterThanOrEqual(60_000)
    }),
    { numRuns: 300 },
  )
})
