// The gateway's client half under the official suite: in each scenario a daemon with the suite's server as its only
// service, and an official client in front of it. The `auth/*` scenarios are about a client's own OAuth and not run.
import { describe, expect, it } from "vitest"
import { inRoot } from "../e2e/support/process.ts"
import { runClientScenario, type Revision } from "./support/suite.ts"

const scenarios: Record<Revision, readonly string[]> = {
  "2026-07-28": [
    "tools_call",
    "request-metadata",
    "http-standard-headers",
    "http-custom-headers",
    "http-invalid-tool-headers",
    "json-schema-ref-no-deref",
    "json-schema-2020-12-preservation",
    "sep-2322-client-request-state",
  ],
  "2025-11-25": ["initialize", "tools_call", "sse-retry", "elicitation-sep1034-client-defaults"],
}
const cases = (Object.keys(scenarios) as Revision[]).flatMap((revision) =>
  scenarios[revision].map((scenario) => ({ revision, scenario })),
)

const quoted = (part: string) => JSON.stringify(part)
const command = [process.execPath, "--conditions=@clarity-runtime/source", inRoot("test/conformance/support/client.ts")]
  .map(quoted)
  .join(" ")

describe("the conformance suite's servers behind a daemon", () => {
  it.each(cases)("find a proper client: $scenario of $revision", async ({ revision, scenario }) => {
    const { exitCode, scenarios: ran, failures, report } = await runClientScenario(command, scenario, revision)
    expect(failures).toEqual([])
    expect(exitCode, report).toBe(0)
    expect([...ran.values()].reduce((sum, { passed }) => sum + passed, 0)).toBeGreaterThan(0)
  })
})
