import type { Clock } from "@clarity-runtime/contracts"

export type Headers = Readonly<Record<string, string>>

export interface HeaderSource {
  /** Milliseconds for which a value is used without being read again. */
  readonly keepMs: number
  /** Read anew whatever is kept. */
  readonly renew: boolean
  read(renew: boolean): Promise<string>
  make(value: string): Headers
}

/** Headers by reference: the same object as long as the value behind them is the same. */
export interface KeptHeaders {
  of(authRef: string, source: HeaderSource): Promise<Headers>
  /** Everything is read anew at its next use. */
  forget(): void
}

const mostKept = 256
/** Longest that a value nobody uses stays in memory. */
const sweepMs = 60_000

export function keptHeaders(clock: Clock): KeptHeaders {
  interface Kept {
    readonly value: string
    readonly headers: Headers
    readonly until: number
    readonly at: number
  }
  let kept = new Map<string, Kept>()
  /** Reads under way, so that many calls at once read once; only of what is kept at all. */
  let reading = new Map<string, Promise<Headers>>()
  let sweeping = false

  async function read(authRef: string, { keepMs, renew, ...source }: HeaderSource): Promise<Headers> {
    const into = kept
    try {
      const value = await source.read(renew)
      const old = into.get(authRef)
      const at = clock.monotonic()
      const headers = old?.value === value ? old.headers : Object.freeze(source.make(value))
      if (into.size >= mostKept) into.clear()
      into.set(authRef, { value, headers, until: at + keepMs, at })
      void sweep()
      return headers
    } catch (error) {
      into.delete(authRef)
      throw error
    }
  }

  async function sweep(): Promise<void> {
    if (sweeping) return
    sweeping = true
    while (kept.size > 0) {
      await clock.sleep(sweepMs)
      const oldest = clock.monotonic() - sweepMs
      for (const [authRef, { at }] of kept) if (at <= oldest) kept.delete(authRef)
    }
    sweeping = false
  }

  return {
    of(authRef, source) {
      if (source.renew || source.keepMs === 0) return read(authRef, source)
      const found = kept.get(authRef)
      if (found !== undefined && clock.monotonic() < found.until) return Promise.resolve(found.headers)
      const from = reading
      const same = from.get(authRef)
      if (same !== undefined) return same
      const mine = read(authRef, source).finally(() => from.delete(authRef))
      from.set(authRef, mine)
      return mine
    },
    forget() {
      // What is being read at this moment may be the old value: it goes into tables nobody looks at any more.
      kept = new Map()
      reading = new Map()
    },
  }
}
