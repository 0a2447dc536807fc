// The whole conformance matrix with every check that failed, scored or not: `node scripts/run.mjs script conformance.ts`.
// An argument picks the combinations whose title contains it.
import { startDaemon } from "../test/conformance/support/daemon.ts"
import { addEverything, combinations, expectedFailures, titleOf } from "../test/conformance/support/matrix.ts"
import { runServerSuite } from "../test/conformance/support/suite.ts"

const wanted = process.argv[2] ?? ""
const daemon = await startDaemon()
const servers = await addEverything(daemon)
try {
  for (const combination of combinations.filter((each) => titleOf(each).includes(wanted))) {
    const started = performance.now()
    const { exitCode, scenarios, failures, report } = await runServerSuite(
      daemon.endpoint(combination.service),
      combination.revision,
      expectedFailures(combination),
    )
    const passed = [...scenarios.values()].reduce((sum, each) => sum + each.passed, 0)
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    console.log(
      `${exitCode === 0 ? "ok  " : "FAIL"} ${titleOf(combination)}: ${scenarios.size} scenarios, ${passed} checks passed, ${failures.length} failed, ${seconds} s`,
    )
    for (const failure of failures) console.log(`       ${failure}`)
    if (exitCode === 0) continue
    process.exitCode = 1
    console.log(report.slice(report.lastIndexOf("Total:")))
  }
} finally {
  const { leftovers } = await daemon.stop()
  for (const server of servers) await server.stop()
  if (leftovers.length > 0) console.log(`left behind: ${leftovers.join(", ")}`)
}
