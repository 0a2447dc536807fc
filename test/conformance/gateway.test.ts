// The official conformance suite against `/mcp/<namespace>` of a running daemon, with an everything server of each SDK
// line behind it. `scripts/conformance.ts` prints the same matrix with every failed check.
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startDaemon, type RunningDaemon } from "./support/daemon.ts"
import { addEverything, combinations, expectedFailures, titleOf } from "./support/matrix.ts"
import type { Running } from "./support/process.ts"
import { runServerSuite } from "./support/suite.ts"

/** Scenarios that each revision requires of a server; more are run and not scored. */
const required = { "2025-11-25": 30, "2026-07-28": 37 }

describe("the conformance suite", () => {
  let daemon: RunningDaemon
  let servers: readonly Running[] = []

  beforeAll(async () => {
    daemon = await startDaemon()
    servers = await addEverything(daemon)
  })
  afterAll(async () => {
    await daemon.stop()
    for (const server of servers) await server.stop()
  })

  it.each(combinations.map((combination) => [titleOf(combination), combination] as const))(
    "passes: %s",
    async (_title, combination) => {
      const { service, revision } = combination
      const { exitCode, scenarios, failures } = await runServerSuite(
        daemon.endpoint(service),
        revision,
        expectedFailures(combination),
      )
      const passed = [...scenarios.values()].filter((scenario) => scenario.passed > 0 && scenario.failed === 0)
      expect(exitCode, failures.join("\n")).toBe(0)
      expect(passed.length).toBeGreaterThanOrEqual(required[revision] - (combination.sameEra ? 0 : 2))
    },
  )

  it("leaves a daemon that ends by itself and takes its children along", async () => {
    expect(await daemon.stop()).toEqual({ code: 0, leftovers: [] })
  })
})
