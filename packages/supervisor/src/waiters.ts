import { abortError } from "@clarity-runtime/contracts"

/** Wakes one sleeper; wakes that come while it is awake are kept as one. */
export class Wake {
  #woken: PromiseWithResolvers<void> = Promise.withResolvers()

  /** Take it before looking at what the wake is about, so that nothing is missed. */
  next(): Promise<void> {
    this.#woken = Promise.withResolvers()
    return this.#woken.promise
  }

  call(): void {
    this.#woken.resolve()
  }
}

/** Those who wait for something to become so. */
export class Waiters {
  readonly #looks = new Set<() => void>()

  /** Something is different: everybody looks again. */
  tell(): void {
    for (const look of this.#looks) look()
  }

  /** Looks now and whenever told, until `look` gives a value or throws, or the signal aborts. */
  until<T>(look: () => { readonly value: T } | undefined, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#looks.delete(again)
        signal?.removeEventListener("abort", abort)
      }
      const abort = () => {
        end()
        if (signal !== undefined) reject(abortError(signal))
      }
      const again = () => {
        try {
          const found = look()
          if (found === undefined) return
          end()
          resolve(found.value)
        } catch (error) {
          end()
          reject(error instanceof Error ? error : new Error("waiting failed", { cause: error }))
        }
      }
      if (signal?.aborted) return abort()
      this.#looks.add(again)
      signal?.addEventListener("abort", abort, { once: true })
      again()
    })
  }
}
