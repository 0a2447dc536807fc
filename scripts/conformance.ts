// The whole conformance matrix with every check that failed, scored or not: `node scripts/run.mjs script conformance.ts`.
// An argument picks the combinations whose title contains it.
import {
  addEverything,
  combinations,
  endpointOf,
  expectedFailures,
  titleOf,
} from "../test/conformance/support/matrix.ts"
import { runServerSuite } from "../test/conformance/support/suite.ts"
import { startDaemon } from "../test/e2e/support/daemon.ts"

const wanted = process.argv[2] ?? ""
const daemon = await startDaemon()
let everything: AsyncDisposable | undefined
try {
  everything = await addEverything(daemon)
  for (const combination of combinations.filter((each) => titleOf(each).includes(wanted))) {
    const started = performance.now()
    const { service, revision } = combination
    const run = await runServerSuite(endpointOf(daemon, service), revision, expectedFailures(combination))
    const passed = [...run.scenarios.values()].reduce((sum, each) => sum + each.passed, 0)
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    const counts = `${run.scenarios.size} scenarios, ${passed} checks passed, ${run.failures.length} did not, ${seconds} s`
    console.log(`${run.exitCode === 0 ? "ok  " : "FAIL"} ${titleOf(combination)}: ${counts}`)
    for (const failure of run.failures) console.log(`       ${failure}`)
    if (run.exitCode === 0) continue
    process.exitCode = 1
    console.log(run.report.slice(run.report.lastIndexOf("Total:")))
  }
} finally {
  await daemon[Symbol.asyncDispose]()
  await everything?.[Symbol.asyncDispose]()
}
