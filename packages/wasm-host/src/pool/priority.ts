import { constants, getPriority, setPriority } from "node:os"

/** Steps behind the rest of the process. */
const behind = constants.priority.PRIORITY_BELOW_NORMAL
const last = constants.priority.PRIORITY_LOW

/**
 * Lets a thread run only when nobody else wants to. Linux alone gives each thread a priority of its own; elsewhere, and
 * where the system says no, nothing happens. True: it is so now.
 */
export function giveWay(threadId: number): boolean {
  return set(threadId, behind)
}

/** Takes that back, which mostly only root may. */
export function standUp(threadId: number): boolean {
  return set(threadId, 0)
}

function set(threadId: number, steps: number): boolean {
  if (process.platform !== "linux" || threadId < 2) return false
  try {
    setPriority(threadId, Math.min(last, getPriority(process.pid) + steps))
    return true
  } catch {
    return false // Not permitted here, or the thread has ended.
  }
}
