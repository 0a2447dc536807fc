import type { Clock, LogLine } from "@clarity-runtime/contracts"

/**
 * One thing that was recorded, on its way out of memory: an event as the JSON of a `RecordedEvent`, beginning with its
 * `seq`; a line of a log; or how many found no room between the one before and the one behind. (Events are bare texts
 * because V8 puts objects that often live until the next collection into its old space, where each keeps its text.)
 */
export type TelemetryItem = string | { readonly serviceId: string; readonly line: LogLine } | { readonly lost: number }

/**
 * Somewhere records are kept or shown. Gets them in order, in batches, one batch at a time; a batch whose write is
 * rejected is handed in again after a second, for as long as the queue before it has room for what comes. Belongs to
 * the telemetry it is handed to, which disposes it.
 */
export interface TelemetrySink extends AsyncDisposable {
  readonly name: string
  /** Default: everything. */
  readonly takes?: "events"
  write(batch: readonly TelemetryItem[]): Promise<void>
}

/** How a sink keeps up. */
export interface DeliveryState {
  readonly name: string
  readonly queued: number
  readonly written: number
  /** Items that found no room because the sink failed or was too slow. */
  readonly lost: number
  /** Why the last write failed; undefined once one succeeds again. */
  readonly failing: string | undefined
}

const batchItems = 200
const batchMs = 250
const againMs = 1000
const maxItems = 10_000
const maxBytes = 8 * 1024 * 1024
const closeMs = 5_000

/** The bounded queue before one sink. Adding never waits; what finds no room is counted, and the sink is told where. */
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
  /** Lost since the last item that found room. */
  #gap = 0
  #failing: string | undefined
  #running: Promise<void> | undefined
  /** Ends the wait for a batch to fill. */
  #filling: AbortController | undefined

  constructor(sink: TelemetrySink, clock: Clock, onFailure: (sink: string, reason: string) => void) {
    this.#sink = sink
    this.#clock = clock
    this.#onFailure = onFailure
  }

  add(item: TelemetryItem, bytes: number): void {
    if (typeof item !== "string" && "line" in item && this.#sink.takes === "events") return
    if (this.#closing.signal.aborted || this.#queue.length >= maxItems || this.#bytes + bytes > maxBytes) {
      this.#lost++
      this.#gap++
      return
    }
    this.#tellGap()
    this.#push(item, bytes)
    this.#running ??= this.#run()
    // What waits longer than it must outlives the young generation, and costs the collector a copy.
    if (this.#queue.length >= batchItems) this.#filling?.abort()
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
    this.#filling?.abort()
    const finished = (this.#running ?? Promise.resolve()).then(() => this.#sink[Symbol.asyncDispose]())
    const late = new AbortController()
    await Promise.race([finished.catch((error: unknown) => this.#fail(error)), this.#clock.sleep(closeMs, late.signal)])
    late.abort()
  }

  #push(item: TelemetryItem, bytes: number): void {
    this.#queue.push(item)
    this.#sizes.push(bytes)
    this.#bytes += bytes
  }

  #tellGap(): void {
    if (this.#gap === 0) return
    this.#push({ lost: this.#gap }, 0)
    this.#gap = 0
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      if (this.#queue.length < batchItems && !this.#closing.signal.aborted) await this.#fill()
      const batch = this.#queue.slice(0, batchItems)
      if (!(await this.#write(batch))) break
      this.#queue.splice(0, batch.length)
      for (const bytes of this.#sizes.splice(0, batch.length)) this.#bytes -= bytes
      if (this.#queue.length === 0) this.#tellGap()
    }
    this.#running = undefined
  }

  async #fill(): Promise<void> {
    this.#filling = new AbortController()
    await this.#clock.sleep(batchMs, this.#filling.signal)
    this.#filling = undefined
  }

  /** Tries until the batch is written. False when it is given up, because the end has come. */
  async #write(batch: readonly TelemetryItem[]): Promise<boolean> {
    for (;;) {
      const last = this.#closing.signal.aborted
      try {
        await this.#sink.write(batch)
        this.#written += batch.filter((item) => typeof item === "string" || !("lost" in item)).length
        this.#failing = undefined
        return true
      } catch (error) {
        this.#fail(error)
      }
      if (last) return false
      await this.#clock.sleep(againMs, this.#closing.signal)
    }
  }

  #fail(error: unknown): void {
    const first = this.#failing === undefined
    this.#failing = error instanceof Error ? error.message : "the sink failed"
    if (first) this.#onFailure(this.#sink.name, this.#failing)
  }
}
