import type { Clock } from "@clarity-runtime/contracts"
import { Pool } from "./undici-parts.ts"
import { checkedConnector, type Lookup } from "./connector.ts"
import type { OutboundRequest } from "./outbound.ts"

/** Sockets to one origin under one reach: a connection that was checked loosely never serves a strict request. */
export interface OriginPool {
  readonly pool: Pool
  busy: number
  /** Monotonic milliseconds of the last exchange's end. */
  idleSince: number
}

export interface PoolsOptions {
  readonly clock: Clock
  readonly connectMs: number
  readonly lookup: Lookup
  readonly privateHosts: readonly string[] | undefined
  /** Throws when that origin may not be called; asked once per pool. */
  readonly check: (url: URL, reach: OutboundRequest["reach"]) => void
}

export interface Pools extends AsyncDisposable {
  of(url: URL, reach: OutboundRequest["reach"]): OriginPool
  readonly size: number
}

const socketsPerOrigin = 256
const maxPools = 1024
const poolIdleMs = 60_000

export function createPools({ clock, connectMs, lookup, privateHosts, check }: PoolsOptions): Pools {
  const pools = new Map<string, OriginPool>()
  const life = new AbortController()
  let sweeping = false

  async function sweep(): Promise<void> {
    sweeping = true
    while (pools.size > 0 && !life.signal.aborted) {
      await clock.sleep(poolIdleMs / 2, life.signal)
      const now = clock.monotonic()
      for (const [key, entry] of pools) if (entry.busy === 0 && now - entry.idleSince >= poolIdleMs) close(key, entry)
    }
    sweeping = false
  }

  function close(key: string, entry: OriginPool): void {
    pools.delete(key)
    void entry.pool.close()
  }

  /** Makes room by closing what has been idle longest; origins in use stay, they are bounded by the calls in flight. */
  function makeRoom(): void {
    let oldest: [string, OriginPool] | undefined
    for (const entry of pools)
      if (entry[1].busy === 0 && (!oldest || entry[1].idleSince < oldest[1].idleSince)) oldest = entry
    if (oldest) close(...oldest)
  }

  return {
    of(url, reach) {
      const key = reach === "any" ? url.origin : `public ${url.origin}`
      let entry = pools.get(key)
      if (entry) return entry
      check(url, reach)
      if (pools.size >= maxPools) makeRoom()
      const pool = new Pool(url.origin, {
        connections: socketsPerOrigin,
        connect: checkedConnector(reach, connectMs, lookup, privateHosts),
        allowH2: false,
        pipelining: 1,
        headersTimeout: 0,
        bodyTimeout: 0,
        maxHeaderSize: 32 * 1024,
      })
      entry = { pool, busy: 0, idleSince: clock.monotonic() }
      pools.set(key, entry)
      if (!sweeping) void sweep()
      return entry
    },
    get size() {
      return pools.size
    },
    async [Symbol.asyncDispose]() {
      life.abort()
      const all = [...pools.values()]
      pools.clear()
      await Promise.all(all.map(({ pool }) => pool.destroy()))
    },
  }
}
