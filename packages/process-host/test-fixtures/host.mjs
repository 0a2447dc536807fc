// A small daemon to be killed: starts the odd server in a family, prints the pids, and lives on.
import { systemClock } from "@clarity-runtime/contracts"
import { createLauncher } from "../src/launcher.ts"
import { connect, oddService } from "./harness.ts"

const [stateDir, mode] = process.argv.slice(2)
const launcher = createLauncher({
  stateDir: stateDir === "" ? undefined : stateDir,
  environment: process.env,
  budgetBytes: 2 ** 40,
  clock: systemClock,
})
const wire = await connect(launcher, oddService(mode))
const { result } = await wire.ask("family")
process.stdout.write(`${JSON.stringify({ pids: [result.pid, result.group.pid, result.left.pid] })}\n`)
setInterval(() => {}, 1 << 30)
