import type { Clock, Interest, ServiceLog } from "@clarity-runtime/contracts"
import type { Instance } from "./instances.ts"

/**
 * Listens to an instance until it is retired or gone. A watch that fails or ends without a word is begun again, with
 * growing pauses: not every upstream can be watched, and that alone is no fault.
 */
export async function watchInstance(
  instance: Instance,
  interest: Interest,
  parts: { clock: Clock; log: ServiceLog },
  heard: { lists(): void; exit(reason: string): void },
): Promise<void> {
  const { backend, over } = instance
  if (backend.watch === undefined) return
  let begun = 0
  let pauseMs = 5_000
  while (!over.aborted) {
    try {
      for await (const change of backend.watch(interest, over)) {
        if (over.aborted) return
        if (change.kind === "exit") return heard.exit(change.reason)
        if (change.kind === "lists") heard.lists()
        if (change.kind === "watching") {
          begun += 1
          pauseMs = 5_000
          // Whatever changed while nobody listened is only found by asking.
          if (begun > 1 && interest.lists === true) heard.lists()
        }
      }
    } catch (error) {
      if (!over.aborted) parts.log.write("runtime", `watching it failed: ${String(error).slice(0, 500)}`)
    }
    if (over.aborted) return
    await parts.clock.sleep(pauseMs, over)
    pauseMs = Math.min(pauseMs * 2, 300_000)
  }
}
