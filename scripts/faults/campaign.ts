import { setTimeout as sleep } from "node:timers/promises"
import { faults, kinds, type Cell, type Fault, type Kind } from "../../test/fixtures/faultd/catalog.ts"
import { caseOf, type Case } from "../../test/fixtures/faultd/services.ts"
import { callFault, portOf, registerFault, removeFault, type Got } from "../../test/e2e/support/faults.ts"
import { quantile } from "../bench/load.ts"
import type { Window } from "./load.ts"
import { patience, type Stand } from "./stand.ts"

export interface Measured {
  readonly fault: Fault
  readonly kind: Kind
  readonly got: Got
  /** What is wrong with the cell, in words; its ratio is judged elsewhere. */
  readonly wrong: string[]
  readonly errors: number
  readonly disturbed: Window[]
  /** Windows without any faulty service, of the same minute. */
  readonly quiet: Window[]
  readonly peakMb: number
}

/** What a cell is when it is not measured: the fault has no meaning there, or this machine cannot make it. */
export type Absent = "-" | "not here"

export interface Selection {
  readonly faults?: readonly string[] | undefined
  readonly kinds?: readonly string[] | undefined
}

const quietMs = 500
const disturbedMs = 900
/** Calls of the faulty service while the others are watched: one begins every so many milliseconds. */
const pacedMs = 150
/** A named answer must be there by then: the longest call, a start waited for, and the machine's own slowness. */
const deadlineMs = patience.totalMs + 3000
const nearby = 5
/** What callers may get of a service that an earlier call's fault has brought down. */
const away = new Set(["unavailable", "upstream_timeout", "outcome_unknown", "rate_limited"])
export const allowed = 1.3

export async function runCampaign(
  stand: Stand,
  select: Selection,
  told: (fault: Fault, cells: ReadonlyMap<Kind, Measured | Absent>) => void,
): Promise<readonly Measured[]> {
  const all: Measured[] = []
  const quiet: Window[] = []
  for (const fault of faults) {
    if (select.faults !== undefined && !select.faults.includes(fault.name)) continue
    const row = new Map<Kind, Measured | Absent>()
    for (const kind of kinds) {
      if (select.kinds !== undefined && !select.kinds.includes(kind)) continue
      const cell = fault.on[kind]
      const one = cell && caseOf(fault, kind, cell, stand.faultd, patience)
      if (cell === undefined || one === undefined) {
        row.set(kind, cell === undefined ? "-" : "not here")
        continue
      }
      quiet.push(await stand.load.during(quietMs))
      const measured = await measure(stand, fault, kind, cell, one, quiet.slice(-nearby))
      row.set(kind, measured)
      all.push(measured)
    }
    told(fault, row)
  }
  return all
}

async function measure(
  stand: Stand,
  fault: Fault,
  kind: Kind,
  cell: Cell,
  one: Case,
  quiet: readonly Window[],
): Promise<Measured> {
  const wrong: string[] = []
  stand.peakMb()
  const registered = await registerFault(stand.url, one)
  if (cell.when === "call" && registered.outcome !== "RUNNING")
    wrong.push(`it did not start: ${registered.outcome} ${registered.words}`)
  if (fault.name === "refused") await stand.faultd.close(portOf(one))
  const calls: Got[] = []
  const window = await stand.load.during(disturbedMs, async () => {
    if (cell.when === "call") calls.push(...(await callAgain(stand.url, one)))
  })
  const got = cell.when === "start" ? registered : (calls[0] ?? registered)
  if (!cell.expect.includes(got.outcome)) wrong.push(`the caller got ${got.outcome}: ${got.words ?? ""}`)
  for (const { outcome, words } of calls.slice(1))
    if (!cell.expect.includes(outcome) && !away.has(outcome))
      wrong.push(`a later caller got ${outcome}: ${words ?? ""}`)
  if (cell.when === "start" && registered.words === "") wrong.push("its state does not say why it does not run")
  await removeFault(stand.url, registered.id)
  for (let tries = 0; ; tries++) {
    const { children, exchanges } = await stand.leftovers()
    if (children + exchanges === 0) break
    if (tries === 40) {
      wrong.push(`${children} children and ${exchanges} exchanges are left`)
      break
    }
    await sleep(50)
  }
  if (window.errors > 0) wrong.push(`${window.errors} errors of healthy services, first ${window.firstError}`)
  return {
    fault,
    kind,
    got,
    wrong,
    errors: window.errors,
    disturbed: [window],
    quiet: [...quiet],
    peakMb: stand.peakMb(),
  }
}

/** One call after the other begins, whether the last has ended or not, until the window is over. */
async function callAgain(url: string, one: Case): Promise<Got[]> {
  const calls: Promise<Got>[] = []
  for (let at = 0; at < disturbedMs; at += pacedMs) {
    calls.push(callFault(url, one, deadlineMs))
    await sleep(pacedMs)
  }
  return Promise.all(calls)
}

/** Pairs of a quiet and a disturbed window more, for a cell whose first one may have met another's noise. */
export async function measureAgain(stand: Stand, cell: Measured, pairs: number): Promise<void> {
  const { fault, kind } = cell
  const on = fault.on[kind]
  const one = on && caseOf(fault, kind, on, stand.faultd, patience)
  if (on === undefined || one === undefined) return
  for (let pair = 0; pair < pairs; pair++) {
    cell.quiet.push(await stand.load.during(disturbedMs))
    const again = await measure(stand, fault, kind, on, one, [])
    cell.disturbed.push(...again.disturbed)
    // A port that was closed stays closed.
    if (fault.name !== "refused") cell.wrong.push(...again.wrong)
  }
}

/** p99 of the healthy services beside the fault over that without it. */
export function ratioOf(cell: Measured): number {
  const { disturbed, quiet } = p99Of(cell)
  return disturbed / quiet
}

/**
 * True when the others are slower than allowed, and beyond chance: their windows, allowance taken off, are still slower
 * than the quiet ones of the same minutes (rank sum, one-sided, in standard deviations). A noisy machine makes two quiet
 * windows differ by more than any allowance; it must neither hide a fault nor make one up.
 */
export function tooSlow(cell: Measured, deviations: number): boolean {
  if (ratioOf(cell) <= allowed) return false
  const slow = cell.disturbed.map((window) => p99([window]) / allowed)
  const quiet = cell.quiet.map((window) => p99([window]))
  let sum = 0
  for (const one of slow) for (const other of quiet) sum += one > other ? 1 : one === other ? 0.5 : 0
  const pairs = slow.length * quiet.length
  const deviation = Math.sqrt((pairs * (slow.length + quiet.length + 1)) / 12)
  return (sum - pairs / 2) / deviation > deviations
}

/** Milliseconds, of all calls of those windows together: a window alone has too few for a hundredth to mean much. */
export function p99(windows: readonly Window[], tool?: string): number {
  const times = windows.flatMap((window) =>
    tool === undefined ? Object.values(window.times).flat() : (window.times[tool] ?? []),
  )
  return quantile(
    times.sort((a, b) => a - b),
    0.99,
  )
}

export function p99Of({ disturbed, quiet }: Measured): { readonly disturbed: number; readonly quiet: number } {
  return { disturbed: p99(disturbed), quiet: p99(quiet) }
}

/** The same of each healthy service, as `name quiet > disturbed`. */
export function p99OfEach({ disturbed, quiet }: Measured): string {
  return Object.keys(disturbed[0]?.times ?? {})
    .map((tool) => `${tool.split("__")[0]} ${p99(quiet, tool).toFixed(1)} > ${p99(disturbed, tool).toFixed(1)}`)
    .join(", ")
}
