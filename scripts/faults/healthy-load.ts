import { fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import type { LoadOrder, Window } from "./load.ts"

/** The healthy services under load, from another process. */
export interface HealthyLoad {
  /** How they fare while `work` runs, and for `ms` at least. */
  during(ms: number, work?: () => Promise<unknown>): Promise<Window>
  stop(): void
}

export function startLoad(order: LoadOrder): HealthyLoad {
  const child = fork(join(import.meta.dirname, "load.ts"), [JSON.stringify(order)])
  return {
    async during(ms, work) {
      child.send("begin")
      await Promise.all([new Promise((resolve) => setTimeout(resolve, ms)), work?.()])
      const told = once(child, "message")
      child.send("end")
      return ((await told) as [Window])[0]
    },
    stop: () => void child.disconnect(),
  }
}
