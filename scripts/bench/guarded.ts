import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { load, median, type Measured, type Target } from "./load.ts"
import { cpuMs, daemon, root, script, type Started } from "./processes.ts"
import { addService, waitUntilRunning } from "./services.ts"
import { table } from "./table.ts"

const token = "a-token-of-the-bench-and-nothing-else"
/** Twenty rules, a rate, a budget and pins, none of which stands in the way of what is measured. */
const rules = {
  apiVersion: "clarity.policy/v1",
  rules: Array.from({ length: 20 }, (_, i) => ({
    effect: i % 2 === 0 ? "deny" : "ask",
    services: [`elsewhere-${i}`, "other_*"],
    tools: ["delete_*", `drop_${i}`],
  })),
  rates: [{ calls: 1_000_000, perSeconds: 1 }],
  budgets: [{ per: "principal", windowSeconds: 3600, calls: 1_000_000_000, seconds: 86_400 }],
  pin: ["*"],
}

/** After the guarded daemon's turn its audit has this long to be written and synced, at nobody else's cost. */
const settleMs = 1300

export interface GuardedOptions {
  readonly workspace: string
  readonly rounds: number
  readonly seconds: number
}

/**
 * What being guarded costs: a daemon with a token, rules, a rate, a budget, pins and the durable audit beside one that has
 * none of them, in front of the same services, measured in turn. Bounds and the gate are always on, in both.
 */
export async function guarded({ workspace, rounds, seconds }: GuardedOptions): Promise<void> {
  const upstream = await script("echo-upstream.ts")
  const open = await daemonWith(join(workspace, "open"), upstream, { audit: { enabled: false } })
  const shut = await daemonWith(join(workspace, "guarded"), upstream, {}, token)
  const tools = { remote: "remote__echo", stdio: "stdio__echo", wasm: "wasm__fn__same" }
  const text = "x".repeat(32)
  for (const [kind, tool] of Object.entries(tools)) {
    const [without, having] = [target(`${kind}, without`, open, tool), target(`${kind}, guarded`, shut, tool, token)]
    for (const one of [without, having]) await load(one, 16, text, 2000) // warm
    for (const connections of [1, 16, 64]) {
      const measured: Round[] = []
      for (let round = 0; round < rounds; round++) {
        const sums: Round = { without: nothing(open.pid), having: nothing(shut.pid) }
        // In this order, so that what drifts slower than a slice falls on both alike.
        for (const which of ["without", "having", "having", "without"] as const) {
          if (which === "without") await sleep(settleMs)
          add(sums[which], await load(which === "having" ? having : without, connections, text, seconds * 1000))
        }
        // Over the whole round: what a daemon does later is its own cost too.
        sums.without.cpu += cpuMs(open.pid)
        sums.having.cpu += cpuMs(shut.pid)
        measured.push(sums)
      }
      report(`${kind}, c=${connections}`, measured)
    }
  }
  await Promise.all([open.stop(), shut.stop(), upstream.stop()])
}

function target(name: string, { port }: Started, tool: string, shown?: string): Target {
  const headers = shown === undefined ? {} : { headers: { authorization: `Bearer ${shown}` } }
  return { name, origin: `http://127.0.0.1:${port}`, path: "/mcp", tool, ...headers }
}

async function daemonWith(workspace: string, upstream: Started, settings: object, secret?: string): Promise<Started> {
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  writeFileSync(join(workspace, ".clarity", "clarityd.json"), JSON.stringify(settings))
  if (secret !== undefined) writeFileSync(join(workspace, ".clarity", "policy.json"), JSON.stringify(rules))
  const started = await daemon(workspace, {
    ...process.env,
    ...(secret === undefined ? {} : { CLARITYD_AUTH_TOKEN: secret }),
  })
  const origin = `http://127.0.0.1:${started.port}`
  const endpoint = `http://127.0.0.1:${upstream.port}/mcp`
  await addService(origin, "remote", { type: "remote_mcp", endpoint, maxConcurrency: 256 }, undefined, secret)
  const args = [join(root, "scripts/bench/echo-stdio.ts")]
  await addService(origin, "stdio", { type: "local_stdio", command: process.execPath, args }, undefined, secret)
  const wasmPath = join(root, "examples/sample.wasm")
  await addService(origin, "wasm", { type: "local_wasm", wasmPath }, join(root, "examples/sample.clarity"), secret)
  await waitUntilRunning(origin, ["remote", "stdio", "wasm"], secret)
  return started
}

/** What one daemon did in a round; `ms` is the time it was asked for, `cpu` the milliseconds of processor it took. */
interface Sum {
  calls: number
  ms: number
  cpu: number
  errors: number
  readonly p50: number[]
  readonly p99: number[]
}

interface Round {
  readonly without: Sum
  readonly having: Sum
}

function nothing(pid: number): Sum {
  return { calls: 0, ms: 0, cpu: -cpuMs(pid), errors: 0, p50: [], p99: [] }
}

function add(sum: Sum, { requests, requestsPerSecond, errors, p50, p99 }: Measured): void {
  sum.calls += requests
  sum.ms += (requests / requestsPerSecond) * 1000
  sum.errors += errors
  sum.p50.push(p50)
  sum.p99.push(p99)
}

function report(title: string, rounds: readonly Round[]): void {
  const rate = ({ calls, ms }: Sum) => (calls / ms) * 1000
  const cost = ({ calls, cpu }: Sum) => (cpu / calls) * 1000
  const ratios = rounds.map(({ without, having }) => rate(having) / rate(without))
  const costs = rounds.map(({ without, having }) => cost(having) / cost(without))
  const body = (["without", "having"] as const).map((which) => [
    which === "having" ? "guarded" : "without",
    median(rounds.map((round) => rate(round[which]))),
    median(rounds.map((round) => median(round[which].p50))),
    median(rounds.map((round) => median(round[which].p99))),
    which === "having" ? median(ratios) : 1,
    which === "having" ? `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}` : "",
    median(rounds.map((round) => cost(round[which]))),
    which === "having" ? median(costs) : 1,
    rounds.reduce((sum, round) => sum + round[which].errors, 0),
  ])
  const head = ["daemon", "req/s", "p50 ms", "p99 ms", "x without", "min–max", "CPU µs/call", "x CPU", "errors"]
  console.log(`${title}\n\n${table(head, body)}\n`)
}
