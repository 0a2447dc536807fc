import type { LogEntry } from "../guest/call-log.ts"
import type { Plain } from "../guest/values.ts"

/** One call as the pool is given it. */
export interface Job {
  /** Function of the program; -1: only instantiate. */
  readonly index: number
  readonly args: readonly Plain[]
  readonly maxResultBytes: number
  /** Milliseconds it may run, waiting not counted. */
  readonly limitMs: number
  readonly signal: AbortSignal
  log(entries: readonly LogEntry[]): void
}

/** How a job ended. `fault` and `tooLarge` come with words for the caller, `internal` with words for the log. */
export type Ended =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "fault" | "tooLarge" | "internal"; readonly message: string }
  | { readonly kind: "timeout" }

/** A job on its way through the pool. */
export interface PooledCall {
  readonly id: number
  readonly program: number
  readonly job: Job
  /** Milliseconds it is likely to run; Infinity while nothing is known of its function. */
  expectedMs: number
  /** When it was handed in (monotonic ms). */
  readonly queuedAt: number
  /** Its place in a thread's claims. */
  place: number
  /** Set when its caller is gone: the thread may finish it until then (monotonic ms). */
  killAt: number | undefined
  end(ended: Ended): void
  fail(error: Error): void
}
