// `npm run drains | reloads | lives | isolation`: the campaigns of endurance, at full length. Each prints a table and exits
// with 1 when a promise was broken.
import { parseArgs } from "node:util"
import { cleanUp } from "../../test/e2e/support/daemon.ts"
import { drains } from "./drains.ts"
import { isolation } from "./isolation.ts"
import { lives } from "./lives.ts"
import { reloads } from "./reloads.ts"
import { printed, type Verdict } from "./verdict.ts"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    cycles: { type: "string", default: "1000" },
    kills: { type: "string", default: "50" },
    calls: { type: "string", default: "100000" },
    clients: { type: "string", default: "200" },
    rate: { type: "string", default: "300" },
    "pause-ms": { type: "string", default: "50" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
  },
})
const number = (name: keyof typeof values, usual = "0"): number => {
  const value = Number(values[name] ?? usual)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`--${name} must be a whole number, not ${values[name]}`)
  return value
}
const seed = number("seed")
const report = (line: string) => process.stderr.write(`${line}\n`)

const campaigns: Readonly<Record<string, () => Promise<Verdict>>> = {
  drains: () => drains({ rounds: number("rounds", "200"), seed, report }),
  reloads: () =>
    reloads({ rounds: number("rounds", "1000"), rate: number("rate"), pauseMs: number("pause-ms"), report }),
  lives: () => lives({ cycles: number("cycles"), kills: number("kills"), seed, report }),
  isolation: () => isolation({ calls: number("calls"), clients: number("clients"), seed, report }),
}

const [name = ""] = positionals
const campaign = campaigns[name]
if (campaign === undefined) {
  console.error(`usage: endurance.ts ${Object.keys(campaigns).join("|")}`)
  process.exit(2)
}
console.log(`${name}, seed ${seed}, Node ${process.versions.node}`)
const begun = performance.now()
const verdict = await campaign()
await cleanUp()
console.log(printed(name, verdict))
console.log(`${verdict.violations.length} violations, ${((performance.now() - begun) / 1000).toFixed(0)} s`)
process.exit(verdict.violations.length === 0 ? 0 : 1)
