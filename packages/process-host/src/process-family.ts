import type { Clock } from "@clarity-runtime/contracts"
import { startTimeOf } from "./process-table.ts"

const termMs = 1000
const killRounds = 30

/**
 * Ends every process that `find` finds: SIGTERM, one second, SIGKILL until nobody is left. Looks again each time, so
 * what they start meanwhile is found too; whoever was found once is followed by pid and start time until it is gone,
 * even when it can no longer be found (a dying process has no environment). `left` is above 0 only when SIGKILL did not help.
 */
export async function endFamily(
  find: () => Promise<readonly number[]>,
  send: (pid: number, signal: NodeJS.Signals) => void,
  clock: Clock,
): Promise<{ readonly found: ReadonlySet<number>; readonly left: number }> {
  const found = new Set<number>()
  const known = new Map<number, string>()

  async function pass(signal: NodeJS.Signals | undefined): Promise<number> {
    for (const pid of await find()) {
      const startTime = known.has(pid) ? undefined : await startTimeOf(pid)
      if (startTime === undefined) continue
      known.set(pid, startTime)
      found.add(pid)
    }
    for (const [pid, startTime] of known) {
      if ((await startTimeOf(pid)) !== startTime) known.delete(pid)
      else if (signal) send(pid, signal)
    }
    return known.size
  }

  let left = await pass("SIGTERM")
  const deadline = clock.monotonic() + termMs
  while (left > 0 && clock.monotonic() < deadline) {
    await clock.sleep(50)
    left = await pass(undefined)
  }
  for (let round = 1; left > 0 && round <= killRounds; round++) {
    await pass("SIGKILL")
    await clock.sleep(20 * round)
    left = await pass(undefined)
  }
  return { found, left }
}
