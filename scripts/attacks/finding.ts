import type { Stand } from "./stand.ts"

/** `ok` and `FAIL` were tried; the others say why nothing was. */
export type Verdict = "ok" | "FAIL" | "not yet" | "skipped" | "waiting"

/** One line of the report: one input of one row, what it had to come to, and what it came to. */
export interface Finding {
  readonly id: string
  readonly input: string
  readonly expected: string
  readonly got: string
  readonly verdict: Verdict
  /** Stands for the very bytes or values that were tried, so that inputs that are the same count once. */
  readonly digest?: string
}

export function wasTried({ verdict }: Finding): boolean {
  return verdict === "ok" || verdict === "FAIL"
}

/** What a case uses to tell what it found. */
export interface Trial {
  readonly stand: Stand
  /** Small numbers, no waiting: the part that runs with the tests. */
  readonly fast: boolean
  /** Puts one input on record. Both sides are compared as JSON. */
  same(input: string, expected: unknown, got: unknown): void
  /** The same where the expectation is a sentence. */
  holds(input: string, expected: string, holds: boolean, got?: unknown): void
  /** Nothing was tried, and why. */
  skip(why: string): void
  /** The feature this belongs to is not there yet. */
  notYet(why: string): void
}

/** One row of security tests whose attack needs more than a request: servers, children, modules, files, time. */
export interface Case {
  readonly id: string
  /** Takes next to no time: also runs with the tests. */
  readonly quick?: true
  run(trial: Trial): Promise<void>
}
