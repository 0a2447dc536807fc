// A small daemon to be killed: starts the odd server in a family, prints the pids, and lives on.
import { execFileSync } from "node:child_process"
import { systemClock } from "@clarity-runtime/contracts"
import { createLauncher } from "../src/launcher.ts"
import { connect, oddService, testServices } from "./harness.ts"

const [stateDir, mode] = process.argv.slice(2)
const launcher = createLauncher({
  stateDir: stateDir === "" ? undefined : stateDir,
  environment: process.env,
  budgetBytes: 2 ** 40,
  clock: systemClock,
})
if (mode === "files") {
  const services = testServices()
  const wire = await connect(launcher, oddService("", { command: "ls", args: ["-l", "/proc/self/fd"] }), services)
  await wire.closed
  process.stdout.write(JSON.stringify(services.logged.map(({ text }) => text)))
  await launcher[Symbol.asyncDispose]()
  process.exit()
}
const wire = await connect(launcher, oddService(mode))
const { result } = await wire.ask("family")
const guard = execFileSync("ps", ["-A", "-o", "pid=,ppid=,comm="], { encoding: "utf8" })
  .split("\n")
  .map((line) => line.trim().split(/\s+/))
  .find(([, parent, name]) => Number(parent) === process.pid && name.endsWith("sh"))
process.stdout.write(
  `${JSON.stringify({ guard: Number(guard?.[0]), pids: [result.pid, result.group.pid, result.left.pid] })}\n`,
)
setInterval(() => {}, 1 << 30)
