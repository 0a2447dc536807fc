import type { Writable } from "node:stream"
import { abortError, ClarityError } from "@clarity-runtime/contracts"
import { TransportError } from "@clarity-runtime/mcp-peer"

/** Writes lines to a child that may read slowly or not at all. */
export interface WriteQueue {
  /**
   * Resolves when the line is with the operating system or next to be; waits while too much is unread. Throws
   * TransportError with `sent: false` when the signal aborts or the queue closes first: nothing of it was written then.
   */
  write(line: string, id: unknown, signal: AbortSignal | undefined): Promise<void>
  /** Takes back the request with that id if it still waits; its `write` then fails. True when it was there. */
  withdraw(id: unknown): boolean
  /** Everybody still waiting fails with this error, and so does everybody after. */
  close(error: ClarityError): void
}

/** Characters that may lie unread between us and the child before others have to wait. */
const highWater = 1024 * 1024
/** Characters that may wait in all before a line is refused at once. */
const maxWaiting = 32 * 1024 * 1024

export function createWriteQueue(sink: Writable, service: string): WriteQueue {
  interface Waiter {
    readonly line: string
    readonly id: unknown
    go(): void
    fail(error: ClarityError): void
  }
  const waiters = new Set<Waiter>()
  let waiting = 0
  let closed: ClarityError | undefined

  const fits = (line: string) => sink.writableLength === 0 || sink.writableLength + line.length <= highWater

  function drop(waiter: Waiter) {
    if (waiters.delete(waiter)) waiting -= waiter.line.length
  }

  sink.on("drain", () => {
    for (const waiter of waiters) {
      if (!fits(waiter.line)) return
      drop(waiter)
      sink.write(waiter.line)
      waiter.go()
    }
  })

  return {
    write(line, id, signal) {
      if (closed) return Promise.reject(unsent(closed))
      if (waiters.size === 0 && fits(line)) {
        sink.write(line)
        return Promise.resolve()
      }
      if (signal?.aborted) return Promise.reject(unsent(abortError(signal)))
      if (waiting + line.length > maxWaiting)
        return Promise.reject(
          unsent(
            new ClarityError("unavailable", `service "${service}" does not read its input`, {
              data: { service, reason: "input queue is full" },
            }),
          ),
        )
      return new Promise((resolve, reject) => {
        const aborted = () => waiter.fail(signal ? abortError(signal) : new ClarityError("cancelled", "cancelled"))
        const waiter: Waiter = {
          line,
          id,
          go() {
            signal?.removeEventListener("abort", aborted)
            resolve()
          },
          fail(error) {
            signal?.removeEventListener("abort", aborted)
            drop(waiter)
            reject(unsent(error))
          },
        }
        waiters.add(waiter)
        waiting += line.length
        signal?.addEventListener("abort", aborted, { once: true })
      })
    },
    withdraw(id) {
      if (id === undefined) return false
      for (const waiter of waiters) {
        if (waiter.id !== id) continue
        waiter.fail(new ClarityError("cancelled", "the call was cancelled"))
        return true
      }
      return false
    },
    close(error) {
      closed ??= error
      for (const waiter of waiters) waiter.fail(error)
    },
  }
}

function unsent(error: ClarityError): TransportError {
  return new TransportError({ error, sent: false })
}
