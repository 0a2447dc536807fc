import { abortError, ClarityError, type Clock } from "@clarity-runtime/contracts"

/** One at a time, in the order of asking. */
export interface Turns {
  /**
   * Resolves with the release of the turn, which may be called any number of times. Throws the signal's error, or
   * `unavailable` after `withinMs` milliseconds in the queue.
   */
  take(signal: AbortSignal, withinMs: number): Promise<() => void>
  readonly waiting: number
}

export function createTurns(name: string, clock: Clock): Turns {
  const queue: (() => void)[] = []
  let taken = false

  function release(): void {
    const next = queue.shift()
    if (next) next()
    else taken = false
  }

  function once(): () => void {
    let released = false
    return () => {
      if (released) return
      released = true
      release()
    }
  }

  return {
    async take(signal, withinMs) {
      if (signal.aborted) throw abortError(signal)
      if (!taken) {
        taken = true
        return once()
      }
      const over = new AbortController()
      const turn = Promise.withResolvers<boolean>()
      const grant = () => turn.resolve(true)
      const leave = () => turn.resolve(false)
      queue.push(grant)
      signal.addEventListener("abort", leave, { once: true })
      void clock.sleep(withinMs, over.signal).then(leave)
      const granted = await turn.promise
      signal.removeEventListener("abort", leave)
      over.abort()
      if (granted) {
        if (!signal.aborted) return once()
        release()
        throw abortError(signal)
      }
      const place = queue.indexOf(grant)
      if (place >= 0) queue.splice(place, 1)
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
