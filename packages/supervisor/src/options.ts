/** Bounds of the supervisor. Milliseconds unless said otherwise. */
export interface SupervisorOptions {
  /** Longest start: opening and the first answer; also the longest a call waits for its service. */
  readonly startMs?: number
  /** How long an old generation may finish its calls. */
  readonly drainMs?: number
  /** The same for an instance replaced because of its age or memory: long, because nobody is in a hurry. */
  readonly recycleDrainMs?: number
  /** The same when the supervisor itself is disposed; whoever disposes it has drained before. */
  readonly closeDrainMs?: number
  /** Longest wait for one instance's disposal, and for a start given up to undo itself. */
  readonly disposeMs?: number
  /** Starts at one time. */
  readonly startsAtOnce?: number
  /** A start slower than this gives its place to the next one and goes on. */
  readonly startHoldMs?: number
  readonly probeMs?: number
  readonly probeTimeoutMs?: number
  /** Between two looks at an instance's memory. */
  readonly vitalsMs?: number
  /** Unused time after which lazy services and instances of one principal or session stop. */
  readonly idleMs?: number
  /** Instances of one service under `isolation: principal | session`. */
  readonly maxInstances?: number
  /** Resident megabytes of all instances together; over it, unused instances that come back on use are stopped. */
  readonly memoryBudgetMb?: number
  readonly backoffFirstMs?: number
  readonly backoffCapMs?: number
  /** Share of the back-off by which it varies, either way. */
  readonly backoffJitter?: number
  /** An instance that lasted this long clears the count of failures. */
  readonly goodMs?: number
  /** Longest back-off of a remote service while a call waits for it. */
  readonly demandCapMs?: number
  /** Quiet time between a change of an upstream's lists and asking for them. */
  readonly refreshMs?: number
  /** Snapshots are published at most this often; an operator's change at once. */
  readonly coalesceMs?: number
  /** How long a remembered protocol verdict is believed. */
  readonly verdictMs?: number
}

export type Bounds = Required<Omit<SupervisorOptions, "memoryBudgetMb">> & Pick<SupervisorOptions, "memoryBudgetMb">

export const defaultBounds: Bounds = {
  startMs: 30_000,
  drainMs: 25_000,
  recycleDrainMs: 600_000,
  closeDrainMs: 2_000,
  disposeMs: 10_000,
  startsAtOnce: 8,
  startHoldMs: 2_000,
  probeMs: 30_000,
  probeTimeoutMs: 10_000,
  vitalsMs: 30_000,
  idleMs: 300_000,
  maxInstances: 16,
  backoffFirstMs: 500,
  backoffCapMs: 60_000,
  backoffJitter: 0.25,
  goodMs: 600_000,
  demandCapMs: 2_000,
  refreshMs: 250,
  coalesceMs: 20,
  verdictMs: 86_400_000,
}
