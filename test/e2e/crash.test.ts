import { expect, it } from "vitest"
import { callKills } from "../../scripts/crash/call-kills.ts"
import { contenders } from "../../scripts/crash/contenders.ts"
import { damage } from "../../scripts/crash/damage.ts"
import { daemonOver } from "../../scripts/crash/daemon-kills.ts"
import { diskFaults } from "../../scripts/crash/disk-faults.ts"
import { fullDisk } from "../../scripts/crash/full-disk.ts"
import { bindingsKind, documentKind, kinds, registryKind } from "../../scripts/crash/kinds.ts"
import { powerCuts, whyNoPowerCuts } from "../../scripts/crash/power-cuts.ts"
import { fileShapes } from "../../scripts/crash/shapes.ts"
import { whyNoStrace } from "../../scripts/crash/strace.ts"
import { systemFaults } from "../../scripts/crash/system-faults.ts"
import { violationsOf, type Tally } from "../../scripts/crash/tally.ts"
import { writerKills } from "../../scripts/crash/writer-kills.ts"
import "./support/clean-up.ts"

// `npm run crash` with small numbers: each campaign finds nothing, and has really been at work.
type Result = Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }

function expectNothing(result: Result, atLeast: { readonly points: number; readonly acknowledged?: number }): void {
  if ("skipped" in result) throw new Error(result.skipped)
  expect(violationsOf(result)).toEqual([])
  expect(result.points).toBeGreaterThanOrEqual(atLeast.points)
  expect(result.acknowledged ?? 0).toBeGreaterThanOrEqual(atLeast.acknowledged ?? 0)
}

it("kills of a process that writes every kind of state, seen by a fresh reader and by a daemon", async () => {
  const second = { every: 4, look: daemonOver }
  expectNothing(await writerKills({ rounds: 8, seed: 5, lanes: 2, second }), { points: 8, acknowledged: 30 })
})

it("a fault at any call to the disk", async () => {
  expectNothing(await diskFaults([registryKind], ["EIO"]), { points: 90 })
})

it("damage of any kind to any kind of file", async () => {
  expectNothing(await damage({ kinds, flips: 60, seed: 5, stride: 11 }), { points: 500 })
  expectNothing(await fileShapes([documentKind, bindingsKind]), { points: 12 })
})

it("several daemons started at once on one workspace", async () => {
  expectNothing(await contenders({ daemons: 4 }), { points: 4 })
})

it.runIf(whyNoPowerCuts() === undefined)("power cuts, and a control that they would be noticed", async () => {
  expectNothing(await powerCuts({ cuts: 8, seed: 5, control: 4 }), { points: 8, acknowledged: 50 })
  expectNothing(await fullDisk({ kinds: [registryKind], levels: 48, daemonLevels: 0 }), {
    points: 48,
    acknowledged: 20,
  })
})

it.runIf(whyNoStrace() === undefined)(
  "what the kernel refuses a daemon, and kills in the middle of a system call",
  async () => {
    for (const result of [await systemFaults({ depth: 1 }), await callKills({ depth: 1, seed: 5 })])
      if (!("skipped" in result)) expectNothing(result, { points: 8, acknowledged: 8 })
  },
)
