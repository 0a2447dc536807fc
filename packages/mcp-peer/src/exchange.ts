import type { CallLimits, JsonObject, RpcError } from "@clarity-runtime/contracts"
import type { RpcId, TransportFailure } from "./transport.ts"

/** How one request to the upstream ended. */
export type Ended =
  | { readonly kind: "result"; readonly result: JsonObject }
  | { readonly kind: "error"; readonly rpc: RpcError }
  | { readonly kind: "failed"; readonly failure: TransportFailure }

export interface Notice {
  readonly kind: "notification"
  readonly method: string
  readonly params: JsonObject
}

/** A request of the upstream's own, to be put to the end client. */
export interface Question {
  readonly kind: "question"
  readonly id: RpcId
  readonly method: string
  readonly params: JsonObject
}

export type ExchangeEvent = Notice | Question | Ended

export interface ExchangeOptions {
  readonly limits?: CallLimits
  /** `call`: a client's call, to which what the wire does not attribute may belong. `own`: the peer's own request. */
  readonly purpose: "call" | "own"
  /** The client behind this call can be asked. */
  readonly askable?: boolean
  /** Notices kept until they are read; the oldest are dropped beyond that. */
  readonly capacity?: number
}

const defaultCapacity = 1024
const maxBufferedBytes = 8 * 1024 * 1024

/** One request under way: a queue of what arrived for it, ended exactly once. Read by one reader. */
export class Exchange {
  readonly id: number
  readonly method: string
  readonly options: ExchangeOptions
  /** Monotonic milliseconds of the last sign of life. */
  lastSign = 0
  /** Waiting for a person: silence is then no fault of the upstream's. */
  waiting = false
  /** Handed to the wire; a failure before that left nothing behind. */
  sent = false
  over = false
  dropped = 0
  /** Called once, when it is over and nothing of it can arrive any more. */
  onSettled: (() => void) | undefined
  #queue: ExchangeEvent[] = []
  #bytes = 0
  #wake: ((event: ExchangeEvent) => void) | undefined

  constructor(id: number, method: string, options: ExchangeOptions) {
    this.id = id
    this.method = method
    this.options = options
  }

  push(event: Notice | Question, bytes = 0): void {
    if (this.over) return
    if (this.#wake) return this.#deliver(event)
    this.#bytes += bytes
    if (this.#queue.length >= (this.options.capacity ?? defaultCapacity) || this.#bytes > maxBufferedBytes) {
      const oldest = this.#queue.findIndex((queued) => queued.kind === "notification")
      if (oldest >= 0) this.#queue.splice(oldest, 1)
      this.dropped++
      this.#bytes = Math.max(0, this.#bytes - bytes)
    }
    this.#queue.push(event)
  }

  end(ended: Ended): void {
    if (this.over) return
    this.over = true
    if (this.#wake) this.#deliver(ended)
    else this.#queue.push(ended)
  }

  /** The next event; after the end it gives nothing more. */
  next(): ExchangeEvent | Promise<ExchangeEvent> {
    const event = this.#queue.shift()
    if (event) {
      if (this.#queue.length === 0) this.#bytes = 0
      return event
    }
    return new Promise((resolve) => (this.#wake = resolve))
  }

  /** What has arrived already, without waiting. */
  poll(): ExchangeEvent | undefined {
    return this.#queue.shift()
  }

  #deliver(event: ExchangeEvent): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.(event)
  }
}
