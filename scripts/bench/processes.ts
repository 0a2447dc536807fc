import { spawn, type ChildProcess } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"

export const root = dirname(dirname(import.meta.dirname))
const running: ChildProcess[] = []

export interface Started {
  readonly pid: number
  readonly port: number
  /** From spawn to its saying that it is ready, milliseconds. */
  readonly readyMs: number
  stop(): Promise<void>
}

/** Starts a Node program and waits until a line of its output matches; the first group is its port. */
export function start(args: readonly string[], ready: RegExp, env: NodeJS.ProcessEnv = process.env): Promise<Started> {
  const begun = performance.now()
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] })
  running.push(child)
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  return new Promise((resolve, reject) => {
    let said = ""
    child.stdout.on("data", (chunk: Buffer) => {
      said += String(chunk)
      const port = ready.exec(said)?.[1]
      if (port === undefined) return
      const stop = async () => {
        child.kill("SIGTERM")
        await ended
      }
      resolve({ pid: child.pid as number, port: Number(port), readyMs: performance.now() - begun, stop })
    })
    child.once("exit", (code) => reject(new Error(`${args.join(" ")} ended with ${code}: ${said}`)))
  })
}

export function script(name: string, ...args: string[]): Promise<Started> {
  return start([join(root, "scripts/bench", name), ...args], /ready (\d+)/)
}

export function daemon(workspace: string, env?: NodeJS.ProcessEnv): Promise<Started> {
  return start(
    [join(root, "apps/daemon/bin/clarityd.js"), "--port", "0", "--workspace", workspace],
    /listens on http:\/\/127\.0\.0\.1:(\d+)/,
    env,
  )
}

/** Resident memory in MB; where there is no /proc, NaN. */
export function residentMb(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}

/** Milliseconds of processor that a process and its threads have taken so far; where there is no /proc, NaN. */
export function cpuMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
    // proc_pid_stat(5): utime and stime are fields 14 and 15, in hundredths of a second; the name before may hold blanks.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    return Number.NaN
  }
}

export function stopAll(): void {
  for (const child of running) child.kill("SIGTERM")
}
