/**
 * Hands every published value to all readers. Each reader holds at most `capacity` unread values (default 1: only the
 * newest matters, as with snapshots) and loses the oldest beyond that.
 */
export interface Broadcast<T> {
  publish(value: T): void
  /** Values published from the moment of this call on. Ends when the signal aborts or the broadcast is closed. */
  subscribe(signal: AbortSignal): AsyncIterable<T>
  close(): void
  readonly readers: number
}

export function createBroadcast<T>(capacity = 1): Broadcast<T> {
  interface Reader {
    readonly queue: T[]
    wake: (() => void) | undefined
  }
  const readers = new Set<Reader>()
  let closed = false

  async function* read(reader: Reader, signal: AbortSignal): AsyncGenerator<T, void, void> {
    const wake = () => reader.wake?.()
    signal.addEventListener("abort", wake)
    try {
      while (!signal.aborted) {
        if (reader.queue.length > 0) yield reader.queue.shift() as T
        else if (closed) return
        else await new Promise<void>((resolve) => (reader.wake = resolve))
      }
    } finally {
      signal.removeEventListener("abort", wake)
      readers.delete(reader)
    }
  }

  return {
    publish(value) {
      for (const reader of readers) {
        reader.queue.push(value)
        if (reader.queue.length > capacity) reader.queue.shift()
        reader.wake?.()
      }
    },
    subscribe(signal) {
      const reader: Reader = { queue: [], wake: undefined }
      readers.add(reader)
      signal.addEventListener("abort", () => readers.delete(reader), { once: true })
      return read(reader, signal)
    },
    close() {
      closed = true
      for (const reader of readers) reader.wake?.()
    },
    get readers() {
      return readers.size
    },
  }
}
