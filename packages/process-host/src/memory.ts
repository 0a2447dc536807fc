import { ClarityError, type Clock } from "@clarity-runtime/contracts"
import type { ProcessEntry } from "./process-table.ts"

/** What all children of one factory use together. */
export interface ProcessUsage {
  readonly processes: number
  /** Resident memory of all their process groups as last seen. */
  readonly rssBytes: number
  /** The most they may use together; a start that would go beyond it is refused. */
  readonly budgetBytes: number
}

/** The memory of one child: its whole process group, as last seen; undefined before the first look. */
export interface Weight {
  readonly rssBytes: number | undefined
}

export interface MemoryBook {
  /** Makes room for one more child. Throws ClarityError (`unavailable`) naming the budget when there is none. */
  admit(serviceId: string, name: string): Promise<Reservation>
  usage(): ProcessUsage
}

export interface Reservation {
  /** The child has started: from now on its group is weighed. */
  started(group: number): Weight
  /** Gives the room back. */
  release(): void
}

const mebibyte = 1024 * 1024
/** What a child is taken to weigh until one of its service has been weighed: less than any interpreter needs. */
const presumedBytes = 32 * mebibyte
const freshMs = 2000
/** Until this age a child still grows to its size. */
const settledMs = 10_000

/** Weighs children when somebody asks, at most every two seconds, in one look at the process table for all of them. */
export function createMemoryBook(
  budgetBytes: number,
  clock: Clock,
  table: () => Promise<readonly ProcessEntry[]>,
): MemoryBook {
  interface Entry {
    readonly serviceId: string
    group: number | undefined
    rssBytes: number | undefined
    startedAt: number
    settled: boolean
  }
  const entries = new Set<Entry>()
  /** What one child of a service weighed once it had its size; not its latest weight, which may be a leak's. */
  const settled = new Map<string, number>()
  let weighedAt = -Infinity

  async function weigh(): Promise<void> {
    weighedAt = clock.monotonic()
    const groups = new Map<number, number>()
    for (const { group, rssBytes } of await table()) groups.set(group, (groups.get(group) ?? 0) + rssBytes)
    for (const entry of entries) {
      const rssBytes = entry.group === undefined ? undefined : groups.get(entry.group)
      if (rssBytes === undefined) continue
      entry.rssBytes = rssBytes
      if (entry.settled || young(entry)) continue
      entry.settled = true
      settled.set(entry.serviceId, rssBytes)
    }
  }

  function young(entry: Entry): boolean {
    return clock.monotonic() - entry.startedAt < settledMs
  }

  function refresh() {
    if (clock.monotonic() - weighedAt >= freshMs) void weigh()
  }

  function expected(serviceId: string): number {
    return settled.get(serviceId) ?? presumedBytes
  }

  function total(): number {
    let sum = 0
    for (const entry of entries) {
      const rssBytes = entry.rssBytes ?? 0
      sum += young(entry) ? Math.max(rssBytes, expected(entry.serviceId)) : rssBytes
    }
    return sum
  }

  return {
    async admit(serviceId, name) {
      if (entries.size > 0 && clock.monotonic() - weighedAt >= freshMs) await weigh()
      const used = total()
      if (used + expected(serviceId) > budgetBytes)
        throw new ClarityError(
          "unavailable",
          `service "${name}" cannot start: local processes use ${inMb(used)} MB of their memory budget of ${inMb(budgetBytes)} MB`,
          {
            data: {
              service: name,
              reason: "memory budget",
              hint: "stop a local service, let idle ones end sooner (recycle.idleSeconds), or raise the memory budget",
            },
          },
        )
      const startedAt = clock.monotonic()
      const entry: Entry = { serviceId, group: undefined, rssBytes: undefined, startedAt, settled: false }
      entries.add(entry)
      return {
        started(group) {
          entry.group = group
          return {
            get rssBytes() {
              refresh()
              return entry.rssBytes
            },
          }
        },
        release: () => void entries.delete(entry),
      }
    },
    usage() {
      refresh()
      return { processes: entries.size, rssBytes: total(), budgetBytes }
    },
  }
}

function inMb(bytes: number): number {
  return Math.round(bytes / mebibyte)
}
