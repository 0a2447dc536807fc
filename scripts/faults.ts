// npm run faults [-- --only NAME,...] [--kinds KIND,...] [--rps 200] [--crash-loops]: every upstream fault, as a service
// of every kind, beside four healthy services under load. Prints what its caller got, and what the others felt of it.
// Exits with 1 where a promise is broken.
import { parseArgs } from "node:util"
import { kinds } from "../test/fixtures/faultd/catalog.ts"
import { quantile } from "./bench/load.ts"
import { table } from "./bench/table.ts"
import {
  allowed,
  measureAgain,
  p99,
  p99Of,
  p99OfEach,
  ratioOf,
  runCampaign,
  tooSlow,
  type Absent,
  type Measured,
} from "./faults/campaign.ts"
import { crashLoops } from "./faults/crash-loops.ts"
import { openStand } from "./faults/stand.ts"

const text = { type: "string" } as const
const { values } = parseArgs({
  options: { only: text, kinds: text, rps: { ...text, default: "200" }, "crash-loops": { type: "boolean" } },
})
/** Megabytes the daemon may hold beyond what it held before the first fault. */
const memoryAllowedMb = 384
const againPairs = 3
/** Standard deviations of the rank sum: to look longer, and to be sure among two hundred cells. */
const suspicious = 2
const sure = 3.1

const begun = performance.now()
const stand = await openStand(Number(values.rps))
let failed = false
try {
  await stand.load.during(3000)
  failed = values["crash-loops"] ? await crashLoops(stand) : await campaign()
} finally {
  await stand[Symbol.asyncDispose]()
}
console.log(`${Math.round((performance.now() - begun) / 1000)} s`)
if (failed) process.exitCode = 1

async function campaign(): Promise<boolean> {
  const first = stand.peakMb()
  const names = (list: string | undefined) => list?.split(",")
  console.log("| fault | kind | its caller got | after | errors of others | their p99, ms | quiet, ms | x |")
  console.log("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
  const absent: string[] = []
  const cells = await runCampaign(stand, { faults: names(values.only), kinds: names(values.kinds) }, (fault, row) => {
    for (const [kind, cell] of row) {
      if (typeof cell === "string") absent.push(`${fault.name} ${kind}${cell === "-" ? "" : ` (${cell})`}`)
      console.log(lineOf(fault.name, kind, cell))
    }
  })
  const noisy = cells.filter((cell) => !(ratioOf(cell) <= allowed))
  if (noisy.length > 0) console.log(`\n${noisy.length} cells above ${allowed} measured again:\n`)
  for (const cell of noisy) {
    const before = ratioOf(cell)
    await measureAgain(stand, cell, againPairs)
    if (tooSlow(cell, suspicious)) await measureAgain(stand, cell, 2 * againPairs)
    const windows = cell.disturbed.length
    const each = ratioOf(cell) > allowed ? `: ${p99OfEach(cell)}` : ""
    console.log(`${cell.fault.name} ${cell.kind}: ${before.toFixed(2)} -> ${tellP99(cell)} (${windows} windows)${each}`)
  }
  await stand.load.during(5000)
  const last = stand.peakMb()
  return verdict(cells, absent, { first, last })
}

function lineOf(name: string, kind: string, cell: Measured | Absent): string {
  if (typeof cell === "string") return `| ${name} | ${kind} | ${cell} | | | | | |`
  const { got, errors } = cell
  return `| ${name} | ${kind} | ${got.outcome} | ${classOf(got.ms)} | ${errors} | ${tellP99(cell)} |`
}

function quantiles(values: number[]): string[] {
  const sorted = values.sort((a, b) => a - b)
  return [0.25, 0.5, 0.75].map((share) => quantile(sorted, share).toFixed(1))
}

function tellP99(cell: Measured): string {
  const { disturbed, quiet } = p99Of(cell)
  return `${disturbed.toFixed(1)} | ${quiet.toFixed(1)} | ${ratioOf(cell).toFixed(2)}`
}

function classOf(ms: number): string {
  const bounds = [10, 50, 200, 500, 1000, 2000, 5000]
  return `< ${bounds.find((bound) => ms < bound) ?? "10000"} ms`
}

function verdict(
  cells: readonly Measured[],
  absent: readonly string[],
  memory: { first: number; last: number },
): boolean {
  const rows = kinds.map((kind) => {
    const own = cells.filter((cell) => cell.kind === kind)
    const ratios = own.map(ratioOf).sort((a, b) => a - b)
    const windows = own.flatMap(({ disturbed }) => disturbed)
    const sum = (pick: (window: (typeof windows)[number]) => number) =>
      windows.reduce((total, one) => total + pick(one), 0)
    return [
      kind,
      String(own.length),
      String(sum(({ calls }) => calls)),
      String(sum(({ errors }) => errors)),
      p99([...new Set(own.flatMap(({ quiet }) => quiet))]).toFixed(1),
      p99(windows).toFixed(1),
      (ratios[Math.floor(ratios.length / 2)] ?? Number.NaN).toFixed(2),
      (ratios.at(-1) ?? Number.NaN).toFixed(2),
      (Math.max(...own.map(({ peakMb }) => peakMb)) - memory.first).toFixed(0),
    ]
  })
  const heads = [
    "kind",
    "cells",
    "healthy calls",
    "errors",
    "p99 undisturbed, ms",
    "beside faults, ms",
    "x, median of cells",
    "worst",
    "MB above the start, at most",
  ]
  console.log(`\n${table(heads, rows)}`)
  console.log(`\nno meaning or not possible here, ${absent.length} cells: ${absent.join(", ")}`)
  console.log(`resident: ${memory.first.toFixed(0)} MB before, ${memory.last.toFixed(0)} MB at the end`)
  const broken = cells.flatMap((cell) => {
    const wrong = [...cell.wrong]
    if (tooSlow(cell, sure)) wrong.push(`p99 of the others is ${ratioOf(cell).toFixed(2)} x quiet`)
    if (cell.peakMb - memory.first > memoryAllowedMb) wrong.push(`${cell.peakMb.toFixed(0)} MB resident`)
    return wrong.map((words) => `${cell.fault.name} ${cell.kind}: ${words}`)
  })
  const unclear = cells.filter((cell) => ratioOf(cell) > allowed && !tooSlow(cell, sure))
  const names = unclear.map((cell) => `${cell.fault.name} ${cell.kind}`).join(", ")
  console.log(
    `above ${allowed}, but not beyond this machine's noise: ${unclear.length} cells${names === "" ? "" : `, ${names}`}`,
  )
  const all = quantiles(cells.flatMap(({ quiet }) => quiet.map((window) => p99([window]))))
  console.log(`p99 of quiet windows: median ${all[1]} ms, middle half ${all[0]} to ${all[2]} ms`)
  console.log(`${cells.length} cells, ${broken.length} broken promises`)
  for (const words of broken) console.log(`  ${words}`)
  return broken.length > 0
}
