import { readFileSync } from "node:fs"
import { join } from "node:path"
import { registerFault, removeFault } from "../../test/e2e/support/faults.ts"
import { p99 } from "./campaign.ts"
import type { Stand } from "./stand.ts"

const services = 100
const watchedMs = 20_000
/** The supervisor's promise: 0.5 s, doubling, each varied by a quarter at most. */
const firstMs = 500
const jitter = 0.25
/** A start waits its turn behind 99 others and takes a moment; neither is back-off. */
const startMs = 5000

/** A hundred services that end at every start, at once. Gives true where a promise is broken. */
export async function crashLoops({ url, daemon, load, faultd }: Stand): Promise<boolean> {
  const cpuAtFirst = cpuMs(daemon.pid)
  const quietSince = performance.now()
  const quiet = [await load.during(2000), await load.during(2000), await load.during(2000)]
  const cpuQuiet = (cpuMs(daemon.pid) - cpuAtFirst) / (performance.now() - quietSince)
  const file = (place: number) => join(faultd.folder, `starts-${place}`)
  const ids = await Promise.all(
    Array.from({ length: services }, async (_, place) => {
      const module = `bad_loop_${place}`
      const args = ["-c", `date +%s%N >> ${file(place)}; exit 1`]
      const manifest = {
        apiVersion: "clarity.runtime/v1" as const,
        kind: "MCPService" as const,
        metadata: { sourceFile: `faults/${module}`, module },
        spec: {
          origin: { type: "local_stdio" as const, command: "sh", args },
          // One start for each try: nothing is found out about its era.
          era: "legacy" as const,
          restartPolicy: { mode: "on-failure" as const, maxRestarts: 0, windowSeconds: 60 },
        },
      }
      return (await registerFault(url, { manifest, tool: "", args: {} })).id
    }),
  )
  const cpuBefore = cpuMs(daemon.pid)
  const windows = []
  const begun = performance.now()
  while (performance.now() - begun < watchedMs) windows.push(await load.during(2000))
  const cpu = (cpuMs(daemon.pid) - cpuBefore) / (performance.now() - begun)
  const wrong: string[] = []
  const seen: number[][] = []
  for (let place = 0; place < services; place++) {
    const starts = readFileSync(file(place), "utf8")
      .trim()
      .split("\n")
      .map((line) => Number(line) / 1e6)
    starts.slice(1).forEach((at, step) => {
      const gap = at - (starts[step] ?? 0)
      const plain = firstMs * 2 ** step
      ;(seen[step] ??= []).push(gap)
      if (gap < plain * (1 - jitter) || gap > plain * (1 + jitter) + startMs)
        wrong.push(`service ${place}: ${Math.round(gap)} ms before start ${step + 2}, the series says ${plain}`)
    })
  }
  await Promise.all(ids.map((id) => removeFault(url, id)))
  const errors = windows.reduce((sum, window) => sum + window.errors, 0)
  const ratio = p99(windows) / p99(quiet)
  console.log(`${services} services that end at every start, ${watchedMs / 1000} s:`)
  for (const [step, gaps] of seen.entries()) {
    const [least, most] = [Math.min(...gaps), Math.max(...gaps)].map(Math.round)
    console.log(
      `  start ${step + 2}: ${gaps.length} times, ${least} to ${most} ms after the last, series ${firstMs * 2 ** step}`,
    )
  }
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`
  console.log(
    `  processor of the daemon: ${percent(cpu)} of one core, ${percent(cpuQuiet)} with the healthy load alone`,
  )
  console.log(`  healthy services: ${errors} errors, p99 ${ratio.toFixed(2)} x quiet`)
  if (errors > 0) wrong.push(`${errors} errors of healthy services`)
  for (const words of wrong.slice(0, 10)) console.log(`  ${words}`)
  if (wrong.length > 10) console.log(`  and ${wrong.length - 10} more`)
  return wrong.length > 0
}

function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}
