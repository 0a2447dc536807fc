import { spawn, type ChildProcess } from "node:child_process"
import type { Readable, Writable } from "node:stream"
import { isMainThread } from "node:worker_threads"
import type { Clock } from "@clarity-runtime/contracts"
import type { Guard } from "./guard.ts"
import type { StdioEntry } from "./inherited-files.ts"
import type { ProcessRecords } from "./leftovers.ts"
import { endFamily } from "./process-family.ts"
import { groupGone, killTree, signalGroup, signalProcess } from "./process-group.ts"
import { startTimeOf, type ProcessEntry } from "./process-table.ts"

/** What the children of one factory have in common. */
export interface Household {
  readonly guard: Guard
  readonly records: ProcessRecords | undefined
  readonly stdio: readonly StdioEntry[]
  readonly owner: { readonly pid: number; readonly startTime: string }
  readonly table: () => Promise<readonly ProcessEntry[]>
  readonly bearers: () => Promise<readonly { readonly pid: number; readonly cookie: string }[]>
}

export interface ChildOptions {
  readonly serviceId: string
  readonly command: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly variables: Record<string, string>
  /** In the environment of the child and so of everything it starts. */
  readonly cookie: string
  readonly clock: Clock
  readonly tell: (text: string) => void
}

/** One running command with all it has started. Its stdout and stderr must be read, or it stands still. */
export interface Child {
  readonly pid: number
  /** Epoch milliseconds. */
  readonly startedAt: number
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** When the command has ended and its output is read (or half a second later): how it ended, in words. */
  readonly ended: Promise<string>
  /**
   * Ends it and everything it has started; resolves when nothing of it is left, its records included.
   * `graceful`: end of input, 2 s, SIGTERM to the group, 3 s, SIGKILL. `now`: without the first wait.
   * After the command has ended by itself the rest of its family is ended without being asked.
   */
  stop(patience: "graceful" | "now"): Promise<void>
}

const windows = process.platform === "win32"
const inputEndMs = 2000
const termMs = 3000
const killMs = 5000
const outputMs = 500

/** Starts a command in a process group of its own. Throws what `spawn` threw. */
export async function startChild(options: ChildOptions, household: Household): Promise<Child> {
  const { clock, cookie, tell } = options
  const startedAt = clock.now()
  const child = spawnPrivate(options, household.stdio)
  const pid = child.pid
  if (pid === undefined) throw await new Promise((resolve) => child.once("error", resolve))
  // In the same turn as the start: from here on the guard knows it.
  household.guard.add(pid)
  child.on("error", () => tell("the process could not be signalled"))

  const exited = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(exitInWords(code, signal)))
  })
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const ended = exited.then(async (words) => {
    await Promise.race([closed, clock.sleep(outputMs)])
    return words
  })
  let over = false
  void exited.then(() => (over = true))

  const startTime = await startTimeOf(pid)
  if (startTime !== undefined)
    await household.records
      ?.write({ pid, startTime, cookie, service: options.serviceId, owner: household.owner })
      .catch(() => tell("its process record could not be written; only the guard process knows it now"))

  async function endGroup(): Promise<boolean> {
    if (windows) {
      if (!over) await killTree(pid ?? 0)
      return true
    }
    const gone = (ms: number) => groupGone(pid ?? 0, ms, clock, household.table)
    if (!signalGroup(pid ?? 0, "SIGTERM") || (await gone(termMs))) return true
    signalGroup(pid ?? 0, "SIGKILL")
    return gone(killMs)
  }

  /** Ends those who left the group (browsers and daemons do) but carry the cookie. */
  async function endStrays(): Promise<boolean> {
    const find = async () =>
      (await household.bearers()).filter((bearer) => bearer.cookie === cookie).map((bearer) => bearer.pid)
    return (await endFamily(find, signalProcess, clock)).left === 0
  }

  async function end(patience: "graceful" | "now"): Promise<void> {
    // The clock's timers do not keep the daemon alive, but this work must be done before it may end.
    const hold = setInterval(() => {}, 2 ** 30)
    try {
      // What still waits to be written would keep the end of input from the child.
      if (child.stdin.writableLength > 0) child.stdin.destroy()
      else child.stdin.end()
      if (patience === "graceful" && !over) await Promise.race([exited, clock.sleep(inputEndMs)])
      const groupEnded = await endGroup()
      const straysEnded = await endStrays()
      await Promise.race([ended, clock.sleep(killMs)])
      if (groupEnded && straysEnded && over) {
        household.guard.remove(pid ?? 0)
        await household.records?.remove(pid ?? 0).catch(() => tell("its process record could not be removed"))
      } else tell("something of it is still running after SIGKILL; the next start will try again")
    } finally {
      child.stdin.destroy()
      child.stdout.destroy()
      child.stderr.destroy()
      clearInterval(hold)
    }
  }

  let ending: Promise<void> | undefined
  const stop = (patience: "graceful" | "now") => (ending ??= end(patience))
  void exited.then(() => stop("now"))
  const { stdin, stdout, stderr } = child
  return { pid, startedAt, stdin, stdout, stderr, ended, stop }
}

type Piped = ChildProcess & { stdin: Writable; stdout: Readable; stderr: Readable }

function spawnPrivate({ command, args, cwd, variables }: ChildOptions, stdio: readonly StdioEntry[]): Piped {
  // The mask belongs to the whole process, but spawn forks before it returns, so nothing else can run in between.
  const before = isMainThread && !windows ? process.umask(0o077) : undefined
  try {
    const child = spawn(command, args, {
      cwd,
      env: variables,
      shell: false,
      detached: !windows,
      windowsHide: true,
      stdio: [...stdio],
    })
    const { stdin, stdout, stderr } = child
    if (!stdin || !stdout || !stderr) throw new Error("a child without pipes")
    return Object.assign(child, { stdin, stdout, stderr })
  } finally {
    if (before !== undefined) process.umask(before)
  }
}

function exitInWords(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal === "SIGKILL") return "was killed by SIGKILL (by hand, or because the machine ran out of memory)"
  if (signal !== null) return `was ended by ${signal}`
  if (code === 127) return "exited with code 127 (a command was not found)"
  if (code === 126) return "exited with code 126 (a command may not be executed)"
  return `exited with code ${code ?? "unknown"}`
}
