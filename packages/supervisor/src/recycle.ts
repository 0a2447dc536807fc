import type { Clock, ServiceManifest } from "@clarity-runtime/contracts"
import type { Instance } from "./instances.ts"
import { vitalsOf } from "./status.ts"

/** When an instance has had its time. Milliseconds and bytes; absent: never. */
export interface RecycleRules {
  readonly idleMs?: number
  readonly maxAgeMs?: number
  readonly maxBytes?: number
}

export type RecycleReason = "idle" | "age" | "memory" | "budget"

export const recycleWords: Readonly<Record<RecycleReason, string>> = {
  idle: "stopped: nobody used it",
  age: "replaced: it is old",
  memory: "replaced: it holds too much memory",
  budget: "stopped: all together hold too much memory, and nobody used it",
}

/** `mayIdle`: the instance comes back on use even when its manifest says nothing about idling. */
export function recycleRules(manifest: ServiceManifest, mayIdle: boolean, idleMs: number): RecycleRules {
  const { recycle } = manifest.spec
  const idle = recycle?.idleSeconds === undefined ? (mayIdle ? idleMs : undefined) : recycle.idleSeconds * 1000
  return {
    ...(idle === undefined ? {} : { idleMs: idle }),
    ...(recycle?.maxAgeSeconds === undefined ? {} : { maxAgeMs: recycle.maxAgeSeconds * 1000 }),
    ...(recycle?.maxMemoryMb === undefined ? {} : { maxBytes: recycle.maxMemoryMb * 1_048_576 }),
  }
}

/**
 * Sleeps until the instance has had its time, and says so once. Rules are read anew at every look, at the latest after
 * five minutes (which also keeps timers below what a timer can hold).
 */
export async function recycleWhenDue(
  instance: Instance,
  parts: { clock: Clock; vitalsMs: number; rules: () => RecycleRules; busy: () => boolean },
  due: (reason: RecycleReason) => void,
): Promise<void> {
  const { clock, vitalsMs } = parts
  while (!instance.over.aborted) {
    const now = clock.monotonic()
    const { idleMs, maxAgeMs, maxBytes } = parts.rules()
    let next = now + 300_000
    if (maxAgeMs !== undefined) {
      if (now - instance.openedAt >= maxAgeMs) return due("age")
      next = Math.min(next, instance.openedAt + maxAgeMs)
    }
    if (idleMs !== undefined) {
      const used = instance.leases > 0 || parts.busy() ? now : instance.usedAt
      if (now - used >= idleMs) return due("idle")
      next = Math.min(next, used + idleMs)
    }
    if (maxBytes !== undefined && instance.backend.vitals !== undefined) {
      if (bytesOf(instance) > maxBytes) return due("memory")
      next = Math.min(next, now + vitalsMs)
    }
    await clock.sleep(Math.max(next - now, 1), instance.over)
  }
}

/**
 * Of instances that come back on use and are not used now, those to stop so that all together fit into the budget: the
 * longest unused first.
 */
export function overBudget(all: readonly Instance[], spare: readonly Instance[], budgetBytes: number): Instance[] {
  let total = all.reduce((sum, instance) => sum + bytesOf(instance), 0)
  const stopped: Instance[] = []
  for (const instance of [...spare].sort((a, b) => a.usedAt - b.usedAt)) {
    if (total <= budgetBytes) break
    const bytes = bytesOf(instance)
    if (instance.leases > 0 || bytes === 0) continue
    total -= bytes
    stopped.push(instance)
  }
  return stopped
}

function bytesOf(instance: Instance): number {
  return vitalsOf(instance)?.rssBytes ?? 0
}
