import { createRequire } from "node:module"
import type { buildConnector as BuildConnector, errors as Errors, Pool as PoolClass } from "undici"

// The parts of undici that are used, loaded by themselves: its front door also loads a fetch, a WebSocket and a cache,
// which cost every daemon 14 MB and a tenth of a second for nothing. It has no exports map, and its version is pinned.
const load = createRequire(import.meta.url)

export const Pool = load("undici/lib/dispatcher/pool.js") as typeof PoolClass
export type Pool = PoolClass
export const buildConnector = load("undici/lib/core/connect.js") as typeof BuildConnector
export const errors = load("undici/lib/core/errors.js") as typeof Errors
