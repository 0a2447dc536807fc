import type { ServiceLog } from "@clarity-runtime/contracts"

/** Counts what an upstream sends that nobody can use; logged at the 1st, 10th, 100th ... of a kind, so garbage cannot flood. */
export interface DropCounter {
  count(kind: string): void
  readonly total: number
}

export function createDropCounter(name: string, log: ServiceLog): DropCounter {
  const counts = new Map<string, number>()
  let total = 0
  return {
    count(kind) {
      total++
      const seen = (counts.get(kind) ?? 0) + 1
      counts.set(kind, seen)
      if (Number.isInteger(Math.log10(seen))) log.write("runtime", `${name} sent ${kind}; dropped (${seen} so far)`)
    },
    get total() {
      return total
    },
  }
}
