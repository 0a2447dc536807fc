// npm run crash -- [--rounds 1000] [--daemon-rounds 60] [--cuts 120] [--flips 10000] [--levels 1024] [--depth 8]
// [--daemons 50] [--lanes 2] [--seed <now>] [--only <word>]: kills, cuts power, refuses, fills and damages, and tells in one table whether anything that
// was acknowledged was lost. A number of 0 leaves that campaign out. Exits with 1 when a promise was broken.
import { release } from "node:os"
import { parseArgs } from "node:util"
import { callKills } from "./crash/call-kills.ts"
import { contenders } from "./crash/contenders.ts"
import { damage } from "./crash/damage.ts"
import { daemonKills, daemonOver } from "./crash/daemon-kills.ts"
import { diskFaults } from "./crash/disk-faults.ts"
import { fullDisk } from "./crash/full-disk.ts"
import { kinds } from "./crash/kinds.ts"
import { powerCuts } from "./crash/power-cuts.ts"
import { fileShapes } from "./crash/shapes.ts"
import { systemFaults } from "./crash/system-faults.ts"
import { printed, timed, violationsOf, type Skipped, type Tally } from "./crash/tally.ts"
import { writerKills } from "./crash/writer-kills.ts"

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    "daemon-rounds": { type: "string", default: "60" },
    cuts: { type: "string", default: "120" },
    flips: { type: "string", default: "10000" },
    levels: { type: "string", default: "1024" },
    depth: { type: "string", default: "8" },
    daemons: { type: "string", default: "50" },
    lanes: { type: "string", default: "2" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string", default: "" },
  },
})
const number = (name: Exclude<keyof typeof values, "only">): number => {
  const value = Number(values[name])
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`--${name} must be a whole number, not ${values[name]}`)
  return value
}
const seed = number("seed")

const rounds = number("rounds")
const cuts = number("cuts")
const levels = number("levels")
const campaigns: readonly (readonly [string, number, () => ReturnType<typeof powerCuts>])[] = [
  ["kill -9, daemon", number("daemon-rounds"), () => daemonKills({ rounds: number("daemon-rounds"), seed })],
  [
    "kill -9, writers",
    rounds,
    () => writerKills({ rounds, seed, lanes: number("lanes"), second: { every: 100, look: daemonOver } }),
  ],
  ["kill -9, at a call", number("depth"), () => callKills({ depth: number("depth"), seed })],
  ["power cut", cuts, () => powerCuts({ cuts, seed })],
  ["faults, in process", 1, () => diskFaults(kinds)],
  ["faults, system calls", number("depth"), () => systemFaults({ depth: number("depth") })],
  ["disk full", levels, () => fullDisk({ kinds, levels, daemonLevels: Math.min(64, levels) })],
  ["damage", number("flips"), () => damage({ kinds, flips: number("flips"), seed })],
  ["other files", 1, () => fileShapes(kinds)],
  ["daemons at once", number("daemons"), () => contenders({ daemons: number("daemons") })],
]

console.log(`seed ${seed}, Node ${process.versions.node}, ${process.platform} ${release()}`)
const begun = performance.now()
const results: (Tally | Skipped)[] = []
for (const [name, points, run] of campaigns) {
  if (points === 0 || !name.includes(values.only)) continue
  process.stderr.write(`${name} ...\n`)
  results.push(await timed(name, run))
}
console.log(printed(results))
const violations = results.flatMap((result) => ("skipped" in result ? [] : violationsOf(result)))
const seconds = ((performance.now() - begun) / 1000).toFixed(0)
console.log(`${violations.length} violations, ${seconds} s`)
// Not left to an empty event loop: what hung is a violation, and told by now.
process.exit(violations.length === 0 ? 0 : 1)
