// The official conformance suite against `/mcp/<namespace>` of a running daemon, with an everything server of each SDK
// line behind it. `scripts/conformance.ts` prints the same matrix with every failed check.
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startDaemon, type Daemon } from "../e2e/support/daemon.ts"
import { processesOf } from "../e2e/support/process.ts"
import { addEverything, combinations, endpointOf, expectedFailures, titleOf } from "./support/matrix.ts"
import { runServerSuite } from "./support/suite.ts"

/** Scenarios that each revision requires of a server; more are run and not scored. */
const required = { "2025-11-25": 30, "2026-07-28": 37 }

describe("the conformance suite", () => {
  let daemon: Daemon
  let everything: AsyncDisposable

  beforeAll(async () => {
    daemon = await startDaemon()
    everything = await addEverything(daemon)
  })
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]()
    await everything[Symbol.asyncDispose]()
  })

  it.each(combinations.map((combination) => [titleOf(combination), combination] as const))(
    "passes: %s",
    async (_title, combination) => {
      const { service, revision, sameEra } = combination
      const expected = expectedFailures(combination)
      const { exitCode, scenarios, failures } = await runServerSuite(endpointOf(daemon, service), revision, expected)
      const passed = [...scenarios.values()].filter((scenario) => scenario.passed > 0 && scenario.failed === 0)
      expect(exitCode, failures.join("\n")).toBe(0)
      expect(passed.length).toBeGreaterThanOrEqual(required[revision] - (sameEra ? 0 : 2))
    },
  )

  it("leaves a daemon that ends by itself and takes its children along", async () => {
    const services = combinations.filter(({ over }) => over === "stdio").map(({ service }) => service)
    if (process.platform === "linux")
      expect(processesOf(daemon.workspace).length).toBeGreaterThan(new Set(services).size)
    expect(await daemon.stop()).toBe(0)
    expect(processesOf(daemon.workspace)).toEqual([])
  })
})
