import { asClarityError, type ClarityError, type Clock } from "@clarity-runtime/contracts"
import type { Instance } from "./instances.ts"
import type { Bounds } from "./options.ts"

/** Longest pause between two refreshes of an upstream that never stops changing. */
const stormMs = 30_000

export interface RefresherParts {
  readonly clock: Clock
  readonly bounds: Bounds
}

export interface RefresherWork {
  refresh(instance: Instance): Promise<unknown>
  failed(instance: Instance, error: ClarityError): void
}

/** Asks again for the interface after the upstream said it changed: what comes close together is asked once. */
export class Refresher {
  readonly #parts: RefresherParts
  readonly #does: RefresherWork
  readonly #running = new WeakSet<Instance>()
  readonly #dirty = new WeakSet<Instance>()

  constructor(parts: RefresherParts, does: RefresherWork) {
    this.#parts = parts
    this.#does = does
  }

  soon(instance: Instance): void {
    this.#dirty.add(instance)
    if (this.#running.has(instance)) return
    this.#running.add(instance)
    void this.#run(instance)
  }

  async #run(instance: Instance): Promise<void> {
    const { clock, bounds } = this.#parts
    let pauseMs = bounds.refreshMs
    while (this.#dirty.has(instance) && !instance.over.aborted) {
      await clock.sleep(pauseMs, instance.over)
      if (instance.over.aborted) break
      this.#dirty.delete(instance)
      pauseMs = Math.min(pauseMs * 2, stormMs)
      try {
        await this.#does.refresh(instance)
      } catch (thrown) {
        if (instance.over.aborted) break
        this.#does.failed(instance, asClarityError(thrown, "its interface could not be read"))
        this.#dirty.add(instance)
        pauseMs = Math.max(pauseMs, bounds.probeMs)
      }
    }
    this.#running.delete(instance)
  }
}
