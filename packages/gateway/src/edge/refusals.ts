import { asClarityError, type Telemetry } from "@clarity-runtime/contracts"

/** What is known of a request that was refused. */
export interface Refused {
  /** Of HTTP. */
  readonly method?: string
  readonly path?: string
  /** Of JSON-RPC. */
  readonly rpc?: string
  readonly peer?: string | undefined
  readonly principal?: string | undefined
}

/**
 * Puts refusals before or instead of a call into the timeline, each once. Equal ones are folded: the first is recorded at
 * once, the rest are counted and told after a second, after two, four, up to a minute while they go on. So nobody can push
 * out what else happened by being refused.
 */
export interface Refusals extends Disposable {
  record(thrown: unknown, request: Refused): void
  /** This error is on record already: whoever meets it further up leaves it alone. */
  know(thrown: unknown): void
}

interface Fold {
  readonly message: string
  readonly data: Readonly<Record<string, string>>
  count: number
  /** Ticks until the count is told, and how many it takes next time. */
  left: number
  every: number
}

const tickMs = 1000
const longest = 60
/** So many different ones are told one by one; each second gives one back. Beyond, only their codes make a difference. */
const burst = 64

export function createRefusals(telemetry: Telemetry): Refusals {
  const known = new WeakSet<object>()
  const folds = new Map<string, Fold>()
  let tokens = burst
  let ticking: NodeJS.Timeout | undefined

  function tell({ message, data }: Fold, more: Readonly<Record<string, unknown>>): void {
    telemetry.record({ kind: "edge.refused", level: "warn", message, data: { decision: "deny", ...data, ...more } })
  }

  function tick(): void {
    tokens = Math.min(burst, tokens + 1)
    for (const [key, fold] of folds) {
      if (--fold.left > 0) continue
      if (fold.count === 0) {
        folds.delete(key)
        continue
      }
      tell(fold, { repeated: fold.count })
      fold.count = 0
      fold.left = fold.every = Math.min(longest, fold.every * 2)
    }
    if (folds.size > 0 || tokens < burst) return
    clearInterval(ticking)
    ticking = undefined
  }

  function know(thrown: unknown): void {
    if (typeof thrown === "object" && thrown !== null) known.add(thrown)
  }

  return {
    know,
    record(thrown, { method, path, rpc, peer, principal }) {
      if (typeof thrown === "object" && thrown !== null && known.has(thrown)) return
      know(thrown)
      const error = asClarityError(thrown)
      const reason = String(error.data["reason"] ?? error.code)
      const told = { code: error.code, reason, ...(principal === undefined ? {} : { principal }) }
      const message = error.message.slice(0, 256)
      const exact = JSON.stringify([told, message, method, rpc])
      const same = folds.get(exact) ?? (tokens > 0 ? undefined : folds.get(error.code))
      if (same !== undefined) return void same.count++
      const place: Record<string, string> = {}
      for (const [name, text] of Object.entries({ method, path, rpc, peer })) if (text) place[name] = text.slice(0, 128)
      const fold = { message, data: { ...told, ...place }, count: 0, left: 1, every: 1 }
      const general = { ...fold, message: `refused: ${error.code}`, data: { code: error.code } }
      folds.set(tokens > 0 ? exact : error.code, tokens > 0 ? fold : general)
      tokens = Math.max(0, tokens - 1)
      tell(fold, {})
      ticking ??= setInterval(tick, tickMs).unref()
    },
    [Symbol.dispose]() {
      clearInterval(ticking)
      ticking = undefined
      for (const fold of folds.values()) if (fold.count > 0) tell(fold, { repeated: fold.count })
      folds.clear()
    },
  }
}
