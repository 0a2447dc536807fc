import { constants, setPriority } from "node:os"

const { PRIORITY_BELOW_NORMAL, PRIORITY_NORMAL } = constants.priority

/**
 * Lets a thread run only when nobody else wants to. Linux alone gives each thread a priority of its own; elsewhere, and
 * where the system says no, nothing happens. True: it is so now.
 */
export function giveWay(threadId: number): boolean {
  return set(threadId, PRIORITY_BELOW_NORMAL)
}

/** Takes that back, which mostly only root may. */
export function standUp(threadId: number): boolean {
  return set(threadId, PRIORITY_NORMAL)
}

function set(threadId: number, priority: number): boolean {
  if (process.platform !== "linux" || threadId < 2) return false
  try {
    setPriority(threadId, priority)
    return true
  } catch {
    return false // Not permitted here, or the thread has ended.
  }
}
