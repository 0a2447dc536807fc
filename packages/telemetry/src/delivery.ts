import type { Clock, LogLine, RecordedEvent } from "@clarity-runtime/contracts"

/** One thing that was recorded, on its way out of memory. */
export type TelemetryItem = { readonly event: RecordedEvent } | { readonly serviceId: string; readonly line: LogLine }

/**
 * Somewhere records are kept or shown. Gets them in order, in batches, one batch at a time; a batch whose write is
 * rejected is given up and counted. Belongs to the telemetry it is handed to, which disposes it.
 */
export interface TelemetrySink extends AsyncDisposable {
  readonly name: string
  write(batch: readonly TelemetryItem[]): Promise<void>
}

/** How a sink keeps up. */
export interface DeliveryState {
  readonly name: string
  readonly queued: number
  readonly written: number
  /** Items given up because the sink failed or was too slow. */
  readonly lost: number
  /** Why the last write failed; undefined once one succeeds again. */
  readonly failing: string | undefined
}

const batchItems = 200
const batchMs = 250
const maxItems = 10_000
const maxBytes = 8 * 1024 * 1024
const closeMs = 5_000

/** The bounded queue before one sink. Adding never waits; what finds no room is counted and gone. */
export class Delivery {
  readonly #sink: TelemetrySink
  readonly #clock: Clock
  readonly #onFailure: (sink: string, reason: string) => void
  readonly #closing = new AbortController()
  #queue: TelemetryItem[] = []
  #sizes: number[] = []
  #bytes = 0
  #written = 0
  #lost = 0
  #failing: string | undefined
  #running: Promise<void> | undefined

  constructor(sink: TelemetrySink, clock: Clock, onFailure: (sink: string, reason: string) => void) {
    this.#sink = sink
    this.#clock = clock
    this.#onFailure = onFailure
  }

  add(item: TelemetryItem, bytes: number): void {
    if (this.#closing.signal.aborted || this.#queue.length >= maxItems || this.#bytes + bytes > maxBytes) {
      this.#lost++
      return
    }
    this.#queue.push(item)
    this.#sizes.push(bytes)
    this.#bytes += bytes
    this.#running ??= this.#run()
  }

  state(): DeliveryState {
    return {
      name: this.#sink.name,
      queued: this.#queue.length,
      written: this.#written,
      lost: this.#lost,
      failing: this.#failing,
    }
  }

  /** Writes what is queued, for at most five seconds, then closes the sink. */
  async close(): Promise<void> {
    this.#closing.abort()
    const finished = (this.#running ?? Promise.resolve()).then(() => this.#sink[Symbol.asyncDispose]())
    const late = new AbortController()
    await Promise.race([finished.catch((error: unknown) => this.#fail(error)), this.#clock.sleep(closeMs, late.signal)])
    late.abort()
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      if (this.#queue.length < batchItems) await this.#clock.sleep(batchMs, this.#closing.signal)
      const batch = this.#queue.splice(0, batchItems)
      for (const bytes of this.#sizes.splice(0, batchItems)) this.#bytes -= bytes
      try {
        await this.#sink.write(batch)
        this.#written += batch.length
        this.#failing = undefined
      } catch (error) {
        this.#lost += batch.length
        this.#fail(error)
      }
    }
    this.#running = undefined
  }

  #fail(error: unknown): void {
    const first = this.#failing === undefined
    this.#failing = error instanceof Error ? error.message : "the sink failed"
    if (first) this.#onFailure(this.#sink.name, this.#failing)
  }
}
