/** Where the chain of the audit stands: the number of its newest record, and that record's hash. Noted elsewhere, it proves later that nothing before it was changed. */
export interface AuditHead {
  readonly seq: number
  /** SHA-256, 64 hex digits. */
  readonly hash: string
}

export interface AuditProblem {
  /** Name of the segment. */
  readonly file: string
  /** From 1; 0: the file as a whole. */
  readonly line: number
  readonly what: string
}

/** What a walk over the whole chain found. */
export interface AuditReport {
  /** No problem was found. */
  readonly ok: boolean
  readonly records: number
  readonly segments: number
  readonly bytes: number
  /** Number of the oldest record that is kept. */
  readonly first?: number
  readonly last?: AuditHead
  /** Events that found no room while the disk was full or too slow, as the records themselves tell. */
  readonly unrecorded: number
  /** At most 100 of them. */
  readonly problems: readonly AuditProblem[]
}

/** The operator's side of the durable audit. */
export interface AuditDesk {
  /** Reads the whole chain. With `expect`, that record must still be there, unless it is older than what is kept. Throws `storage_error`. */
  verify(options: { readonly expect?: AuditHead }, signal?: AbortSignal): Promise<AuditReport>
  /** What an operator should know: that it cannot be written, that a crash cut the last record short. */
  readonly notices: readonly string[]
}
