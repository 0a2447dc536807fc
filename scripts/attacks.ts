// npm run attacks -- [--fast] [--only RPC]: tries every attack of test/attacks on real daemons and tells of each what had to come and
// what came. Exits with 1 when anything is not as expected.
import { parseArgs } from "node:util"
import { checkAdvisories } from "./attacks/advisories.ts"
import { lineOf, summaryOf } from "./attacks/report.ts"
import { runAttacks } from "./attacks/run.ts"

const { values } = parseArgs({
  options: { fast: { type: "boolean", default: false }, only: { type: "string", default: "" } },
})
const report = await runAttacks({ ...values, found: (finding) => console.log(lineOf(finding)) })
const advisories = checkAdvisories(report)
console.log(`\n${summaryOf(report, advisories)}`)
const failed = report.findings.some(({ verdict }) => verdict === "FAIL") || advisories.wrong.length > 0
// Not left to an empty event loop: a server that an attack left behind must not keep this open.
process.exit(failed ? 1 : 0)
