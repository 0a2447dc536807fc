import { isDeepStrictEqual } from "node:util"
import { asClarityError, ClarityError } from "@clarity-runtime/contracts"
import type { Configuration } from "./configuration.ts"

/** What a reload did: settings that hold from now on, and those that wait for a restart. */
export interface Reloaded {
  readonly changed: readonly string[]
  readonly needsRestart: readonly string[]
}

export interface Reloading {
  /** Reads the configuration anew. Throws `invalid_params` when it is wrong: what was in force stays in force. */
  reload(): Reloaded
  /** Why the newest configuration is not in force. */
  readonly problem: string | undefined
}

type Setting = readonly [name: string, of: (configuration: Configuration) => unknown]

const live: readonly Setting[] = [
  ["allowedHosts", (from) => from.allowedHosts],
  ["allowedOrigins", (from) => from.allowedOrigins],
  ["remote.timeoutMs", (from) => from.remote.timeoutMs],
  ["remote.maxPayloadBytes", (from) => from.remote.maxPayloadBytes],
  ["remote.maxConcurrency", (from) => from.remote.maxConcurrency],
]

/** Everything that is not live. What is only ever given by flag cannot change while the program runs. */
function fixedParts({ remote, allowedHosts: _hosts, allowedOrigins: _origins, ...rest }: Configuration) {
  const { timeoutMs: _timeout, maxPayloadBytes: _payload, maxConcurrency: _concurrency, ...remoteRest } = remote
  return { ...rest, ...Object.fromEntries(Object.entries(remoteRest).map(([key, value]) => [`remote.${key}`, value])) }
}

/**
 * Reloads the configuration of a running daemon: `apply` swaps in what can change under running calls, none of which
 * it may disturb; the rest is named, so that nobody believes it holds already.
 */
export function createReloading(
  started: Configuration,
  options: { read(): Configuration; apply(next: Configuration): void },
): Reloading {
  let inForce = started
  let problem: string | undefined

  return {
    reload() {
      let next: Configuration
      try {
        next = options.read()
      } catch (thrown) {
        problem = asClarityError(thrown).message
        throw new ClarityError("invalid_params", `the configuration was not reloaded: ${problem}`, { cause: thrown })
      }
      const changed = live.filter(([, of]) => !isDeepStrictEqual(of(next), of(inForce))).map(([name]) => name)
      const before: Record<string, unknown> = fixedParts(started)
      const after: Record<string, unknown> = fixedParts(next)
      const needsRestart = Object.keys({ ...before, ...after }).filter(
        (key) => !isDeepStrictEqual(before[key], after[key]),
      )
      if (changed.length > 0) options.apply(next)
      inForce = next
      problem = undefined
      return { changed, needsRestart }
    },
    get problem() {
      return problem
    },
  }
}
