import { expect, it } from "vitest"
import { drains } from "../../scripts/campaigns/drains.ts"
import { isolation } from "../../scripts/campaigns/isolation.ts"
import { lives } from "../../scripts/campaigns/lives.ts"
import { reloads } from "../../scripts/campaigns/reloads.ts"
import type { Verdict } from "../../scripts/campaigns/verdict.ts"
import "./support/clean-up.ts"

// The campaigns of endurance with small numbers: each finds nothing, and has really been at work.
function expectNothing({ figures, violations }: Verdict, atLeast: Readonly<Record<string, number>>): void {
  expect(violations).toEqual([])
  for (const [what, count] of Object.entries(atLeast)) expect(figures[what], what).toBeGreaterThanOrEqual(count)
}

it("a daemon that is told to stop under load answers what it took, and takes no more", async () => {
  const verdict = await drains({ rounds: 2, callMs: 300, clients: 16, seed: 4 })
  expectNothing(verdict, { rounds: 2, "calls accepted": 16, "asked after the drain began": 8 })
})

it("reloads of everything, right and wrong, disturb no call and leave nothing behind", async () => {
  const verdict = await reloads({ rounds: 20, pauseMs: 10, quietMs: 500 })
  expectNothing(verdict, { reloads: 20, "of these invalid": 4, calls: 100 })
})

it("services that start and stop, and a daemon that is killed, leave no process behind", async () => {
  const verdict = await lives({ cycles: 6, kills: 1, services: 2, quietMs: 500, seed: 4 })
  expectNothing(verdict, { cycles: 6, "daemons killed": 1, "processes seen": 2 })
})

it("many clients with equal ids get their own answers only", async () => {
  const verdict = await isolation({ calls: 1000, clients: 50, seed: 4 })
  expectNothing(verdict, { calls: 1000, answered: 800, "given up midway": 50, "upstream exchanges cut": 5 })
})
