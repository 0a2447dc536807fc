/** Calls and faults of the last so many milliseconds, in slots: counting costs a few additions, however many there are. */
export interface Tally {
  readonly calls: number
  readonly faults: number
  count(now: number, fault: boolean): void
  /** Lets go of what has become too old by `now`, monotonic milliseconds. */
  advance(now: number): void
  clear(): void
}

const slots = 12

/** What it counts is between `windowMs` and 11/12 of it old at most. */
export function createTally(windowMs: number): Tally {
  const width = windowMs / slots
  const callsOf = new Uint32Array(slots)
  const faultsOf = new Uint32Array(slots)
  let newest = -1
  let calls = 0
  let faults = 0

  const clear = () => {
    callsOf.fill(0)
    faultsOf.fill(0)
    calls = 0
    faults = 0
  }

  const advance = (now: number): number => {
    const current = Math.floor(now / width)
    if (current - newest >= slots) clear()
    else
      for (let slot = newest + 1; slot <= current; slot++) {
        const at = slot % slots
        calls -= callsOf[at] as number
        faults -= faultsOf[at] as number
        callsOf[at] = 0
        faultsOf[at] = 0
      }
    newest = Math.max(newest, current)
    return newest % slots
  }

  return {
    get calls() {
      return calls
    },
    get faults() {
      return faults
    },
    count(now, fault) {
      const at = advance(now)
      callsOf[at] = (callsOf[at] as number) + 1
      calls++
      if (!fault) return
      faultsOf[at] = (faultsOf[at] as number) + 1
      faults++
    },
    advance,
    clear,
  }
}
