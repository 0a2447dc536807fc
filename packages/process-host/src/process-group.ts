import { execFile } from "node:child_process"
import type { Clock } from "@clarity-runtime/contracts"
import type { ProcessEntry } from "./process-table.ts"

const windows = process.platform === "win32"

/** Sends a signal to every member of a group. False when there is nobody left. Windows knows no groups: see `killTree`. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  return send(-group, signal)
}

/** Sends a signal to one process. False when it is gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  return send(pid, signal)
}

/** Resolves to true as soon as nobody in the group is alive, to false after `ms`. Zombies nobody reaps do not count. */
export async function groupGone(
  group: number,
  ms: number,
  clock: Clock,
  table: () => Promise<readonly ProcessEntry[]>,
): Promise<boolean> {
  const deadline = clock.monotonic() + ms
  for (let pause = 5; ; pause = Math.min(pause * 2, 100)) {
    if (!signalGroup(group, 0)) return true
    if (pause >= 40 && !(await table()).some((entry) => entry.group === group)) return true
    const left = deadline - clock.monotonic()
    if (left <= 0) return false
    await clock.sleep(Math.min(pause, left))
  }
}

/** Windows: ends a process and all it has started. Elsewhere does nothing. */
export function killTree(pid: number): Promise<void> {
  if (!windows) return Promise.resolve()
  return new Promise((resolve) => {
    execFile("taskkill", ["/PID", String(pid), "/T", "/F"], { windowsHide: true }, () => resolve())
  })
}

function send(target: number, signal: NodeJS.Signals | 0): boolean {
  // 0, -1 and 1 would reach the daemon's own group, everybody, and init.
  if (windows || Math.abs(target) <= 1) return false
  try {
    process.kill(target, signal)
    return true
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}
