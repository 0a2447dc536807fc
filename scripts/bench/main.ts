// `npm run bench`: what the gateway costs, beside a bare reverse proxy in front of the same upstream in the same minutes.
import { mkdtempSync, rmSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { guarded } from "./guarded.ts"
import { load, median, type Measured, type Target } from "./load.ts"
import { manyServices } from "./many-services.ts"
import { daemon, residentMb, root, script, stopAll, type Started } from "./processes.ts"
import { addService, waitUntilRunning } from "./services.ts"
import { table } from "./table.ts"

const { values } = parseArgs({
  options: {
    /** Seconds per measurement and how often each is repeated. */
    seconds: { type: "string", default: "3" },
    rounds: { type: "string", default: "5" },
    /** `calls`, `guarded` or `many`; default: all. */
    only: { type: "string" },
    quick: { type: "boolean", default: false },
  },
})
const seconds = values.quick ? 1 : Number(values.seconds)
const rounds = values.quick ? 2 : Number(values.rounds)
const texts = { "32 B": "x".repeat(32), "32 KiB": "x".repeat(32_768) }
const workspace = mkdtempSync(join(tmpdir(), "clarity-bench-"))

interface Row {
  readonly target: Target
  readonly measured: Measured[]
}

try {
  console.log(
    `Node ${process.version}, ${cpus().length} cores (${cpus()[0]?.model.trim()}), ${rounds} rounds of ${seconds} s, interleaved\n`,
  )
  const wanted = (part: string) => values.only === undefined || values.only === part
  if (wanted("calls")) await calls()
  if (wanted("guarded")) await guarded({ workspace, rounds, seconds })
  if (wanted("many")) await manyServices(values.quick)
} finally {
  stopAll()
  rmSync(workspace, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
}

async function calls(): Promise<void> {
  const upstream = await script("echo-upstream.ts")
  const proxy = await script("bare-proxy.ts", String(upstream.port))
  const gateway = await daemon(workspace)
  const origin = `http://127.0.0.1:${gateway.port}`
  const idle = residentMb(gateway.pid)
  await addService(origin, "remote", {
    type: "remote_mcp",
    endpoint: `http://127.0.0.1:${upstream.port}/mcp`,
    maxConcurrency: 256,
  })
  await addService(origin, "stdio", {
    type: "local_stdio",
    command: process.execPath,
    args: [join(root, "scripts/bench/echo-stdio.ts")],
  })
  await waitUntilRunning(origin, ["remote", "stdio"])
  const beforeWasm = residentMb(gateway.pid)
  await addService(
    origin,
    "wasm",
    { type: "local_wasm", wasmPath: join(root, "examples/sample.wasm") },
    join(root, "examples/sample.clarity"),
  )
  await waitUntilRunning(origin, ["wasm"])

  const through = (port: number, name: string, tool: string): Target => ({
    name,
    origin: `http://127.0.0.1:${port}`,
    path: "/mcp",
    tool,
  })
  const targets = [
    through(upstream.port, "direct", "echo"),
    through(proxy.port, "bare node:http proxy", "echo"),
    through(gateway.port, "gateway, remote", "remote__echo"),
    through(gateway.port, "gateway, stdio", "stdio__echo"),
    through(gateway.port, "gateway, wasm", "wasm__fn__same"),
  ]
  const pids: Readonly<Record<string, Started>> = { direct: upstream, "bare node:http proxy": proxy }
  const peaks = new Map<string, number>()

  for (const target of targets) await load(target, 16, texts["32 B"], 2000) // warm
  for (const [size, text] of Object.entries(texts)) {
    for (const connections of [1, 16, 64]) {
      const rows: Row[] = targets.map((target) => ({ target, measured: [] }))
      for (let round = 0; round < rounds; round++) {
        for (const { target, measured } of rows) {
          measured.push(await load(target, connections, text, seconds * 1000))
          peaks.set(target.name, Math.max(peaks.get(target.name) ?? 0, residentMb((pids[target.name] ?? gateway).pid)))
        }
      }
      report(`${size}, c=${connections}`, rows, peaks)
    }
  }
  console.log(
    `clarityd: ready ${gateway.readyMs.toFixed(0)} ms after spawn; RSS idle ${idle.toFixed(0)} MB, ${beforeWasm.toFixed(0)} MB with two services before the first wasm module\n`,
  )
  await Promise.all([gateway.stop(), proxy.stop(), upstream.stop()])
}

function report(title: string, rows: readonly Row[], peaks: ReadonlyMap<string, number>): void {
  const of = (row: Row, key: keyof Measured) => median(row.measured.map((measured) => measured[key]))
  const [direct, proxy] = rows as [Row, Row]
  const added = (row: Row) => (of(row, "p50") - of(direct, "p50")) / (of(proxy, "p50") - of(direct, "p50"))
  // Round by round, because the machine's speed drifts: each ratio compares neighbours in time.
  const ratios = (row: Row) =>
    row.measured.map((measured, i) => measured.requestsPerSecond / (proxy.measured[i]?.requestsPerSecond ?? Number.NaN))
  const spread = (row: Row) => `${Math.min(...ratios(row)).toFixed(2)}–${Math.max(...ratios(row)).toFixed(2)}`
  const body = rows.map((row) => [
    row.target.name,
    of(row, "requestsPerSecond"),
    of(row, "p50"),
    of(row, "p99"),
    median(ratios(row)),
    spread(row),
    row === direct ? Number.NaN : added(row),
    peaks.get(row.target.name) ?? Number.NaN,
    row.measured.reduce((sum, measured) => sum + measured.errors, 0),
  ])
  console.log(
    `${title}\n\n${table(["in front of the same echo", "req/s", "p50 ms", "p99 ms", "x proxy", "min–max", "added p50 x proxy's", "RSS MB", "errors"], body)}\n`,
  )
}
