import type { Lifecycle } from "@clarity-runtime/contracts"

/**
 * Where a service may go from where it is. Two rules carry the rest: RUNNING is reached by STARTING only, and nothing
 * leaves QUARANTINED straight into a start.
 */
export const transitions: Readonly<Record<Lifecycle, readonly Lifecycle[]>> = {
  /** Known, wanted or not, and nothing of it runs. */
  REGISTERED: ["STARTING", "STOPPING", "STOPPED", "QUARANTINED"],
  /** To REGISTERED when the start was given up and nobody asks for another. */
  STARTING: ["RUNNING", "CRASHED", "STOPPING", "STOPPED", "REGISTERED", "QUARANTINED"],
  RUNNING: ["STOPPING", "CRASHED"],
  /** On to STARTING when a new generation takes over, to REGISTERED when it was idle and comes back on use. */
  STOPPING: ["STOPPED", "STARTING", "REGISTERED", "QUARANTINED"],
  STOPPED: ["STARTING", "REGISTERED", "QUARANTINED"],
  /** Died, or could not start: waits for its next attempt. */
  CRASHED: ["STARTING", "STOPPING", "STOPPED", "REGISTERED", "QUARANTINED"],
  QUARANTINED: ["REGISTERED", "STOPPING", "STOPPED"],
}

/** True when a service may go from `from` to `to`; staying is no move. */
export function mayMove(from: Lifecycle, to: Lifecycle): boolean {
  return transitions[from].includes(to)
}
