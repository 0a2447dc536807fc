/** What is known about a store of keys and values from outside it: what it acknowledged, and what was asked of it since. */
export interface Oracle {
  readonly acknowledged: number
  /** The value last acknowledged; undefined: none, or its removal. */
  last(key: string): string | undefined
  ask(key: string, value: string | undefined): void
  acknowledge(key: string, value: string | undefined): void
  /** What was asked for was refused: the value before must be there. */
  refuse(key: string): void
  /** True while an answer is outstanding. */
  pending(key: string): boolean
  /**
   * Holds what a fresh reader found against what is known; empty is the promise kept. A value asked for and not answered
   * may be there or not. From then on what was found counts.
   */
  check(found: ReadonlyMap<string, string>): string[]
  /** The state of now, for looking at copies of it later. */
  copy(): Oracle
}

interface Known {
  acknowledged: string | undefined
  asked: readonly (string | undefined)[]
}

export function createOracle(known = new Map<string, Known>(), count = 0): Oracle {
  let acknowledged = count
  const entry = (key: string): Known => {
    const found = known.get(key) ?? { acknowledged: undefined, asked: [] }
    known.set(key, found)
    return found
  }
  return {
    get acknowledged() {
      return acknowledged
    },
    last: (key) => known.get(key)?.acknowledged,
    ask: (key, value) => void (entry(key).asked = [value]),
    acknowledge(key, value) {
      acknowledged++
      known.set(key, { acknowledged: value, asked: [] })
    },
    refuse: (key) => void (entry(key).asked = []),
    pending: (key) => entry(key).asked.length > 0,
    check(found) {
      const wrong: string[] = []
      for (const [key, { acknowledged: last, asked }] of known) {
        const actual = found.get(key)
        if (actual !== last && !asked.includes(actual))
          wrong.push(`${key} is ${actual ?? "not there"}, acknowledged was ${last ?? "its removal"}`)
        known.set(key, { acknowledged: actual, asked: [] })
      }
      for (const [key, value] of found) {
        if (known.has(key)) continue
        wrong.push(`${key} was never asked for`)
        known.set(key, { acknowledged: value, asked: [] })
      }
      return wrong
    },
    copy: () => createOracle(new Map([...known].map(([key, value]) => [key, { ...value }])), acknowledged),
  }
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
