import { abortError, ClarityError, type Clock } from "@clarity-runtime/contracts"

/**
 * One call at a time, in the order of asking. A call that waits for a person gives way to others of its owner: what the
 * upstream asks meanwhile is theirs, and nobody else is let in who could be shown a question of the owner's.
 */
export interface Turns {
  /** Throws the signal's error, or `unavailable` after `withinMs` milliseconds in the queue. */
  take(owner: string, signal: AbortSignal, withinMs: number): Promise<Turn>
  readonly waiting: number
}

export interface Turn {
  /** Its call waits for a person from now on. */
  pause(): void
  /** The person has answered; goes before all who queue. Resolves at once when the turn is over. Throws the signal's error. */
  resume(signal: AbortSignal): Promise<void>
  /** Ends it; may be called any number of times. */
  release(): void
}

interface Waiter {
  readonly owner: string
  readonly resumes: boolean
  readonly grant: () => void
}

export function createTurns(name: string, clock: Clock): Turns {
  const queue: Waiter[] = []
  let running = false
  let paused = 0
  /** Of all that are paused. */
  let pausedOwner: string | undefined

  const mayRun = (owner: string) => !running && (paused === 0 || pausedOwner === owner)

  function next(): void {
    if (running) return
    const back = queue.findIndex(({ resumes }) => resumes)
    const place = back >= 0 ? back : queue[0] && mayRun(queue[0].owner) ? 0 : -1
    if (place < 0) return
    running = true
    queue.splice(place, 1)[0]?.grant()
  }

  function leave(waiter: Waiter): void {
    const place = queue.indexOf(waiter)
    if (place < 0) return
    queue.splice(place, 1)
    next() // it may have stood before somebody who can go
  }

  /** Resolves to false when the signal aborted or `leaving` resolved before the turn came. */
  async function queued(
    owner: string,
    resumes: boolean,
    signal: AbortSignal,
    leaving: Promise<unknown>,
  ): Promise<boolean> {
    const turn = Promise.withResolvers<boolean>()
    const waiter = { owner, resumes, grant: () => turn.resolve(true) }
    const give = () => turn.resolve(false)
    queue.push(waiter)
    signal.addEventListener("abort", give, { once: true })
    void leaving.then(give)
    const granted = await turn.promise
    signal.removeEventListener("abort", give)
    if (!granted) leave(waiter)
    return granted
  }

  function begun(owner: string): Turn {
    let state: "runs" | "paused" | "over" = "runs"
    const over = Promise.withResolvers<void>()

    function unpause(to: "runs" | "over"): void {
      state = to
      if (--paused === 0) pausedOwner = undefined
    }

    return {
      pause() {
        if (state !== "runs") return
        state = "paused"
        paused++
        pausedOwner = owner
        running = false
        next()
      },
      async resume(signal) {
        if (signal.aborted) throw abortError(signal)
        if (state !== "paused") return
        if (!running) running = true
        else if (!(await queued(owner, true, signal, over.promise))) {
          if (signal.aborted) throw abortError(signal)
          return
        }
        // It ended in the very moment its turn came.
        if (state === "paused") return unpause("runs")
        running = false
        next()
      },
      release() {
        if (state === "over") return
        if (state === "paused") unpause("over")
        else running = false
        state = "over"
        over.resolve()
        next()
      },
    }
  }

  return {
    async take(owner, signal, withinMs) {
      if (signal.aborted) throw abortError(signal)
      if (queue.length === 0 && mayRun(owner)) {
        running = true
        return begun(owner)
      }
      const done = new AbortController()
      const granted = await queued(owner, false, signal, clock.sleep(withinMs, done.signal))
      done.abort()
      if (granted) {
        const turn = begun(owner)
        if (!signal.aborted) return turn
        turn.release()
      }
      if (signal.aborted) throw abortError(signal)
      throw new ClarityError(
        "unavailable",
        `${name} is busy with a call that may be asked back, and takes such calls one at a time`,
        { data: { service: name, reason: "waiting for another caller", hint: "set isolation: principal or session" } },
      )
    },
    get waiting() {
      return queue.length
    },
  }
}
