import { execFile } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { setImmediate as breathe } from "node:timers/promises"
import { promisify } from "node:util"
import { cookieVariable } from "./environment.ts"

/** One living process (zombies are left out). */
export interface ProcessEntry {
  readonly pid: number
  readonly group: number
  readonly rssBytes: number
}

const linux = process.platform === "linux"
const run = promisify(execFile)
const marker = Buffer.from(`${cookieVariable}=`)

/** All processes that can be seen; none where the system has neither /proc nor `ps`. */
export async function listProcesses(): Promise<readonly ProcessEntry[]> {
  if (linux) {
    const found: ProcessEntry[] = []
    for await (const pid of pids()) {
      const stat = readStat(pid)
      if (stat && stat.state !== "Z" && stat.state !== "X")
        found.push({ pid, group: stat.group, rssBytes: stat.rssPages * pageSize() })
    }
    return found
  }
  const lines = await ps(["-A", "-o", "pid=,pgid=,rss=,state="])
  return lines.flatMap((line) => {
    const [pid, group, rss, state] = line.trim().split(/\s+/)
    return state?.startsWith("Z") ? [] : [{ pid: Number(pid), group: Number(group), rssBytes: Number(rss) * 1024 }]
  })
}

/** Text that tells this process from any other that ever had or will have its pid; undefined when it is gone. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  if (linux) {
    const stat = readStat(pid)
    return stat && stat.state !== "Z" && stat.state !== "X" ? stat.startTime : undefined
  }
  const lines = await ps(["-o", "lstart=", "-p", String(pid)])
  return lines[0]?.trim()
}

/** Every process of ours whose environment carries a cookie, with that cookie. */
export async function cookieBearers(): Promise<readonly { readonly pid: number; readonly cookie: string }[]> {
  if (linux) {
    const found: { pid: number; cookie: string }[] = []
    for await (const pid of pids()) {
      const cookie = readCookie(pid)
      if (cookie !== undefined) found.push({ pid, cookie })
    }
    return found
  }
  // -E shows environments on macOS; where `ps` does not know it, the guard and the process group must do.
  const lines = await ps(["-A", "-E", "-ww", "-o", "pid=,command="])
  return lines.flatMap((line) => {
    const found = new RegExp(`^\\s*(\\d+)\\s.*\\b${cookieVariable}=([0-9a-f.]+)`).exec(line)
    return found ? [{ pid: Number(found[1]), cookie: found[2] ?? "" }] : []
  })
}

/**
 * Shares one costly look at the process table among all who ask while it is awaited. What a caller gets was read
 * after it asked: a look already under way is not given to it.
 */
export function shared<T>(look: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  let next: Promise<T> | undefined
  const begin = () => {
    running = next
    next = undefined
    return look()
  }
  return () => (next ??= (running ?? Promise.resolve()).then(begin, begin))
}

async function* pids(): AsyncGenerator<number, void, void> {
  let seen = 0
  for (const name of entriesOfProc()) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid <= 0) continue
    yield pid
    // Reading /proc synchronously is the cheapest way; in slices of about a millisecond it delays nobody.
    if (++seen % 32 === 0) await breathe()
  }
}

function entriesOfProc(): readonly string[] {
  try {
    return readdirSync("/proc")
  } catch {
    return []
  }
}

function readStat(pid: number) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1")
    // The program's name in parentheses may itself hold spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
    return {
      state: fields[0],
      group: Number(fields[2]),
      startTime: fields[19] ?? "",
      rssPages: Number(fields[21]),
    }
  } catch {
    return undefined
  }
}

function readCookie(pid: number): string | undefined {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`)
    for (let at = environ.indexOf(marker); at !== -1; at = environ.indexOf(marker, at + 1)) {
      if (at > 0 && environ[at - 1] !== 0) continue
      const end = environ.indexOf(0, at)
      return environ.toString("latin1", at + marker.length, end === -1 ? environ.length : end)
    }
    return undefined
  } catch {
    return undefined
  }
}

let knownPageSize: number | undefined
/** Node does not tell the page size; its own memory in bytes and in pages does. */
function pageSize(): number {
  if (knownPageSize === undefined) {
    const pages = readStat(process.pid)?.rssPages ?? 0
    knownPageSize = pages > 0 ? 2 ** Math.round(Math.log2(process.memoryUsage.rss() / pages)) : 4096
  }
  return knownPageSize
}

async function ps(args: readonly string[]): Promise<readonly string[]> {
  if (process.platform === "win32") return []
  try {
    const { stdout } = await run("ps", args, { env: { PATH: "/usr/bin:/bin", LC_ALL: "C" }, maxBuffer: 64 << 20 })
    return stdout.split("\n").filter((line) => line.trim() !== "")
  } catch {
    return []
  }
}
