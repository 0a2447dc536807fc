// node scripts/run.mjs script crash.ts [--rounds 100] [--seed 1]: kills a daemon during writes, again and again, and
// tells whether anything acknowledged was lost. Exits with 1 when it was.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { crashRounds } from "../test/e2e/support/crash.ts"

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "100" }, seed: { type: "string", default: String(Date.now() % 1e9) } },
})
const workspace = mkdtempSync(join(tmpdir(), "clarity-crash-"))
const seed = Number(values.seed)
console.log(`seed ${seed}, workspace ${workspace}`)
const report = await crashRounds({ workspace, rounds: Number(values.rounds), seed, report: console.log })
console.log(
  `${report.rounds} kills, ${report.acknowledged} changes acknowledged, ${report.violations.length} violations`,
)
for (const violation of report.violations) console.log(`  ${violation}`)
if (report.violations.length === 0) rmSync(workspace, { recursive: true, force: true })
else process.exitCode = 1
