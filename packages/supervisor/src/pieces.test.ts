import { lifecycles } from "@clarity-runtime/contracts"
import { manualClock, remoteManifest, stdioManifest } from "@clarity-runtime/testkit"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { backoffMs, FailureCount } from "./backoff.ts"
import { generationKey } from "./desired.ts"
import { defaultBounds } from "./options.ts"
import { createStartGate } from "./start-gate.ts"
import { mayMove, transitions } from "./transitions.ts"

describe("transitions", () => {
  test("RUNNING is reached by STARTING only, and nothing starts straight out of quarantine", () => {
    expect(lifecycles.filter((from) => mayMove(from, "RUNNING"))).toEqual(["STARTING"])
    expect(mayMove("QUARANTINED", "STARTING")).toBe(false)
    expect(Object.keys(transitions).sort()).toEqual([...lifecycles].sort())
  })
})

describe("back-off", () => {
  test("stays within a quarter of 0.5 s doubled up to 60 s, whatever the dice say", () => {
    const dice = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), dice, (failures, die) => {
        const plain = Math.min(60_000, 500 * 2 ** (failures - 1))
        const ms = backoffMs(failures, defaultBounds, () => die)
        expect(ms).toBeGreaterThanOrEqual(plain * 0.75)
        expect(ms).toBeLessThanOrEqual(plain * 1.25)
      }),
    )
  })

  test("failures outside the window do not add up, and 0 switches quarantine off", async () => {
    const clock = manualClock()
    const count = new FailureCount(clock, () => 0.5, defaultBounds)
    const policy = { mode: "on-failure", maxRestarts: 2, windowSeconds: 60 } as const
    expect(count.note(policy, true).then).toBe("retry")
    await clock.advance(60_001)
    expect(count.note(policy, true).then).toBe("retry")
    await clock.advance(1_000)
    expect(count.note(policy, false).then).toBe("retry")
    expect(count.note(policy, true).then).toBe("quarantine")
    expect(count.note({ ...policy, maxRestarts: 0 }, true).then).toBe("retry")
    expect(count.note({ ...policy, mode: "never" }, true).then).toBe("rest")
  })
})

describe("the gate of starts", () => {
  test("lets so many begin; the next when one leaves or has held its place for too long; those in a hurry at once", async () => {
    const clock = manualClock()
    const gate = createStartGate({ clock, width: 2, holdMs: 2_000 })
    const begun: string[] = []
    const enter = (name: string, urgent = false) => {
      const ticket = gate.enter(urgent)
      void ticket.ready.then(() => begun.push(name))
      return ticket
    }
    const [a, , , d, e] = ["a", "b", "c", "d", "e"].map((name) => enter(name))
    await clock.advance(0)
    expect(begun).toEqual(["a", "b"])
    enter("urgent", true)
    e?.hurry()
    await clock.advance(0)
    expect(begun).toEqual(["a", "b", "urgent", "e"])
    d?.leave()
    a?.leave()
    await clock.advance(2_000)
    expect(begun.filter((name) => name !== "d")).toEqual(["a", "b", "urgent", "e", "c"])
  })
})

describe("generation", () => {
  test("depends on what an instance is made from and on nothing else", () => {
    const plain = generationKey(stdioManifest())
    expect(
      generationKey(stdioManifest({ spec: { start: "lazy", toolNamespace: "x", limits: { timeoutMs: 9 } } })),
    ).toBe(plain)
    expect(generationKey(stdioManifest({ origin: { env: [{ name: "A", value: "b" }] } }))).not.toBe(plain)
    expect(generationKey(stdioManifest({ spec: { isolation: "session" } }))).not.toBe(plain)
    expect(generationKey(stdioManifest({ metadata: { artifactSha256: "0".repeat(64) } }))).not.toBe(plain)
    const remote = generationKey(remoteManifest())
    expect(generationKey(remoteManifest({ origin: { allowedTools: ["a"], timeoutMs: 3 } }))).toBe(remote)
    expect(generationKey(remoteManifest({ origin: { authRef: "env:TOKEN" } }))).not.toBe(remote)
  })
})
