import { spawn } from "node:child_process"
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { root } from "../../e2e/support/process.ts"

export type Revision = "2025-11-25" | "2026-07-28"

export interface SuiteRun {
  readonly exitCode: number | null
  /** Scenarios that ran, with the number of checks that passed and failed. */
  readonly scenarios: ReadonlyMap<string, { readonly passed: number; readonly failed: number }>
  /** Each failed check as `scenario:check-id: why`, scored or not. */
  readonly failures: readonly string[]
  /** What the suite printed. */
  readonly report: string
}

interface Check {
  readonly id: string
  readonly status: string
  readonly errorMessage?: string
}

const program = createRequire(import.meta.url).resolve("@modelcontextprotocol/conformance/dist/index.js")

/** Runs the official suite's scenarios that a revision requires against a server. `expected` is the path of a list of failures. */
export function runServerSuite(url: string, revision: Revision, expected?: string): Promise<SuiteRun> {
  const baseline = expected === undefined ? [] : ["--expected-failures", expected]
  return run(["server", "--url", url, "--requirements", revision, ...baseline])
}

/** Runs one client scenario: the suite starts a server and then `command` with that server's URL as its last argument. */
export function runClientScenario(command: string, scenario: string, revision: Revision): Promise<SuiteRun> {
  return run(["client", "--command", command, "--scenario", scenario, "--spec-version", revision])
}

async function run(args: readonly string[]): Promise<SuiteRun> {
  const results = mkdtempSync(join(tmpdir(), "clarity-conformance-"))
  try {
    const { exitCode, report } = await spawned([...args, "--output-dir", results])
    return { exitCode, report, ...read(results) }
  } finally {
    rmSync(results, { recursive: true, force: true })
  }
}

function spawned(args: readonly string[]): Promise<{ exitCode: number | null; report: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
    let report = ""
    child.stdout.on("data", (chunk: Buffer) => (report += chunk.toString()))
    child.stderr.on("data", (chunk: Buffer) => (report += chunk.toString()))
    child.once("error", reject)
    child.once("close", (exitCode) => resolve({ exitCode, report }))
  })
}

/** One folder for each scenario: `server-<scenario>-<time>/checks.json`. */
function read(results: string): Pick<SuiteRun, "scenarios" | "failures"> {
  const scenarios = new Map<string, { passed: number; failed: number }>()
  const failures: string[] = []
  for (const file of globSync("**/checks.json", { cwd: results })) {
    const scenario = basename(dirname(file))
      .replace(/^(?:server|client)-/, "")
      .replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, "")
    const checks = JSON.parse(readFileSync(join(results, file), "utf8")) as Check[]
    const failed = checks.filter(({ status }) => status === "FAILURE")
    const warned = checks.filter(({ status }) => status === "WARNING")
    scenarios.set(scenario, {
      passed: checks.filter(({ status }) => status === "SUCCESS").length,
      failed: failed.length,
    })
    failures.push(...failed.map(({ id, errorMessage }) => `${scenario}:${id}: ${errorMessage ?? "no reason"}`))
    failures.push(
      ...warned.map(({ id, errorMessage }) => `${scenario}:${id}: (warning) ${errorMessage ?? "no reason"}`),
    )
  }
  return { scenarios, failures }
}
