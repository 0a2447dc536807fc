import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import type { Daemon } from "./daemon.ts"
import { inSupport } from "./process.ts"

/** What a daemon holds at one moment, after its garbage was collected. */
export interface Holdings {
  readonly fds: number
  /** Without the connections of clients. What they are open on; sockets and pipes by kind, files by name. */
  readonly open: Readonly<Record<string, number>>
  readonly timers: number
  readonly children: number
  readonly heapMb: number
  readonly rssMb: number
}

const probeFile = (workspace: string) => join(workspace, "probe.json")

/** What to start a daemon with, so that `holdingsOf` can look into it. */
export function probed(workspace: string): Record<string, string> {
  const probe = pathToFileURL(inSupport("probe.mjs")).href
  return { NODE_OPTIONS: `--import=${probe}`, PROBE_FILE: probeFile(workspace) }
}

async function holdingsOf(daemon: Pick<Daemon, "workspace" | "program" | "url">): Promise<Holdings> {
  const { pid } = daemon.program
  const file = probeFile(daemon.workspace)
  rmSync(file, { force: true })
  process.kill(pid, "SIGUSR2")
  for (let tries = 0; !existsSync(file); tries++) {
    if (tries === 500) throw new Error("the daemon does not say what it holds")
    await sleep(10)
  }
  const { resources, heapMb } = JSON.parse(readFileSync(file, "utf8")) as {
    resources: Record<string, number>
    heapMb: number
  }
  const open = openIn(pid)
  // How many connections its clients keep open is theirs to say.
  const inbound = inboundAt(Number(new URL(daemon.url).port))
  open["socket"] = (open["socket"] ?? 0) - inbound
  return {
    fds: Object.values(open).reduce((sum, count) => sum + count, 0),
    open,
    timers: resources["Timeout"] ?? 0,
    children: childrenOf(pid).length,
    heapMb,
    rssMb: Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
  }
}

/** What is held when nothing has changed for `quietMs`: connections that are kept for a while are gone by then. */
export async function settled(daemon: Daemon, quietMs = 5000): Promise<Holdings> {
  const until = performance.now() + patienceMs
  let last = await holdingsOf(daemon)
  let since = performance.now()
  while (performance.now() < Math.min(until, since + quietMs)) {
    await sleep(250)
    const now = await holdingsOf(daemon)
    if (now.fds !== last.fds || now.timers !== last.timers || now.children !== last.children) since = performance.now()
    last = now
  }
  return last
}

/** What is held when everything that is kept for a while has had the time to go: no longer than it takes to be back. */
export async function backTo(before: Holdings, daemon: Daemon): Promise<Holdings> {
  const until = performance.now() + patienceMs
  let now = await holdingsOf(daemon)
  while (grown(before, now).length > 0 && performance.now() < until) {
    await sleep(250)
    now = await holdingsOf(daemon)
  }
  return now
}

const patienceMs = 40_000

/** What there is more of than before, in words; of children also what there is less of. */
export function grown(before: Holdings, after: Holdings): string[] {
  const words: string[] = []
  if (after.timers > before.timers) words.push(`timers: ${before.timers} before, ${after.timers} after`)
  if (after.children !== before.children) words.push(`children: ${before.children} before, ${after.children} after`)
  if (after.fds <= before.fds) return words
  const kinds = new Set([...Object.keys(before.open), ...Object.keys(after.open)])
  const other = [...kinds].filter((kind) => before.open[kind] !== after.open[kind])
  const each = other.map((kind) => `${kind} ${before.open[kind] ?? 0}, ${after.open[kind] ?? 0}`)
  return [...words, `files: ${before.fds} before, ${after.fds} after (${each.join("; ")})`]
}

function openIn(pid: number): Record<string, number> {
  const open: Record<string, number> = {}
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const kind = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, "")
      open[kind] = (open[kind] ?? 0) + 1
    } catch {
      continue // closed meanwhile
    }
  }
  return open
}

/** Established connections to a port of this machine, as its kernel counts them. */
function inboundAt(port: number): number {
  const local = new RegExp(
    `^\\s*\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, "0")} [0-9A-F:]+ 01 `,
    "gm",
  )
  return ["/proc/net/tcp", "/proc/net/tcp6"].reduce(
    (sum, table) => sum + (readFileSync(table, "utf8").match(local)?.length ?? 0),
    0,
  )
}

export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number)
    } catch {
      return [] // the thread has ended meanwhile
    }
  })
}
