import { ClarityError } from "@clarity-runtime/contracts"

/** A value that changes only by transactions, each answered when it is durable. */
export interface CommitQueue<T> extends AsyncDisposable {
  /** The last durable value. */
  readonly value: T
  /**
   * Computes the next value from the newest one. Resolves to that value when it is durable. Rejects with what `change`
   * throws (others go on) or with what persisting throws; then everything is as before. Returning the value it was
   * given changes nothing. `change` must not alter its argument, and runs exactly once.
   */
  update(change: (current: T) => T): Promise<T>
}

export interface CommitOptions<T> {
  /** Makes the value durable; rejecting leaves the old one in place. Never called twice at once. */
  readonly persist: (next: T) => Promise<void>
  /** Called with each new value when it is durable, before anybody's promise resolves. Must not throw. */
  readonly committed?: (value: T) => void
}

/** Changes that arrive while another is being persisted are persisted together, in order. Disposing waits for all. */
export function createCommitQueue<T>(initial: T, options: CommitOptions<T>): CommitQueue<T> {
  interface Waiting {
    readonly change: (current: T) => T
    readonly resolve: (value: T) => void
    readonly reject: (reason: unknown) => void
  }
  let value = initial
  let waiting: Waiting[] = []
  let running: Promise<void> | undefined
  let closed = false

  async function run(): Promise<void> {
    // Whoever asks in the same turn of the event loop shares the first write.
    await Promise.resolve()
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      await commit(batch)
    }
    running = undefined
  }

  async function commit(batch: readonly Waiting[]): Promise<void> {
    let next = value
    const answers: (() => void)[] = []
    const refusals: ((reason: unknown) => void)[] = []
    for (const { change, resolve, reject } of batch) {
      try {
        const mine = change(next)
        next = mine
        answers.push(() => resolve(mine))
        refusals.push(reject)
      } catch (error) {
        reject(error)
      }
    }
    try {
      if (next !== value) {
        await options.persist(next)
        value = next
        options.committed?.(next)
      }
    } catch (error) {
      for (const refuse of refusals) refuse(error)
      return
    }
    for (const answer of answers) answer()
  }

  return {
    get value() {
      return value
    },
    update(change) {
      if (closed) return Promise.reject(new ClarityError("unavailable", "the store is closed"))
      return new Promise((resolve, reject) => {
        waiting.push({ change, resolve, reject })
        running ??= run()
      })
    },
    async [Symbol.asyncDispose]() {
      closed = true
      await running
    },
  }
}
