import { isUtf8 } from "node:buffer"
import { abortError, ClarityError, type Clock } from "@clarity-runtime/contracts"
import type { Dispatcher } from "undici"
import { fromWire, invalid, silent, tooLarge } from "./failures.ts"
import type { IdleWatch, Watched } from "./idle-watch.ts"
import { codingOf, createInflater, type Inflater } from "./inflate.ts"
import { OutboundError, type OutboundRequest, type OutboundResponse } from "./outbound.ts"

const maxHeaders = 256
/** Unread bytes at which the socket is left to wait, and at which it is read again. */
const highWater = 256 * 1024
const lowWater = 64 * 1024
/** An inflated body above the first may be at most so many times its size on the wire. */
const ratioFree = 1024 * 1024
const maxRatio = 100

export interface ExchangeServices {
  readonly clock: Clock
  readonly watch: IdleWatch
  /** Called once, when the exchange is over and its place in the pool is free. */
  readonly onOver: (exchange: Exchange) => void
}

/**
 * One request and its answer, from dispatch to the last byte. Bounds strike wherever it is; whatever ends it early
 * destroys its socket, so that none of its bytes can reach another exchange.
 */
export class Exchange implements Dispatcher.DispatchHandler, Watched, OutboundResponse {
  status = 0
  headers: Readonly<Record<string, string>> = {}
  lastSign: number
  slot = -1
  readonly idleMs: number
  readonly head: Promise<OutboundResponse>
  readonly #request: OutboundRequest
  readonly #services: ExchangeServices
  readonly #abort: () => void
  #controller: Dispatcher.DispatchController | undefined
  #resolveHead!: (response: OutboundResponse) => void
  #rejectHead!: (error: OutboundError) => void
  #sent = false
  #over = false
  #failure: OutboundError | undefined
  #queue: Uint8Array[] = []
  #queued = 0
  #inflated = 0
  #onWire = 0
  #coding = ""
  #inflater: Inflater | undefined
  #collecting = false
  #wake: (() => void) | undefined
  /** The socket waits for us. */
  #held = false
  /** The inflater waits for the reader. */
  #stalled = false

  constructor(request: OutboundRequest, services: ExchangeServices) {
    this.#request = request
    this.#services = services
    this.idleMs = request.idleMs
    this.lastSign = services.clock.monotonic()
    this.head = new Promise((resolve, reject) => {
      this.#resolveHead = resolve
      this.#rejectHead = reject
    })
    this.#abort = () => this.fail(new OutboundError(abortError(request.signal), this.#sent))
    request.signal.addEventListener("abort", this.#abort, { once: true })
    if (this.idleMs !== Infinity) services.watch.add(this)
  }

  get paused(): boolean {
    return this.#held || this.#stalled
  }

  expire(): void {
    this.fail(silent(this.idleMs, this.#sent, this.status || undefined))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#failure) return controller.abort(this.#failure)
    this.#controller = controller
    this.#sent = true
    if (this.idleMs !== Infinity) this.lastSign = this.#services.clock.monotonic()
  }

  onResponseStart(_controller: unknown, status: number, headers: Record<string, string | string[] | undefined>): void {
    if (status < 200 || this.#over) return
    this.#sign()
    this.status = status
    const flat: Record<string, string> = {}
    let count = 0
    for (const name in headers) {
      const value = headers[name]
      if (value === undefined) continue
      count += typeof value === "string" ? 1 : value.length
      flat[name] = typeof value === "string" ? value : value.join(", ")
    }
    this.headers = flat
    if (count > maxHeaders)
      return this.fail(invalid("too_many_headers", `the service's answer has ${count} headers`, status))
    const coding = codingOf(flat["content-encoding"])
    if (coding === undefined)
      return this.fail(
        invalid("content_encoding", "the service's answer is in an unknown or manifold encoding", status),
      )
    this.#coding = coding
    if (coding === "" && Number(flat["content-length"]) > this.#request.maxBytes)
      return this.fail(tooLarge(this.#request.maxBytes, status))
    this.#resolveHead(this)
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    if (this.#over) return
    this.#sign()
    if (this.#coding === "") return this.#take(chunk)
    this.#inflater ??= createInflater(this.#coding, chunk, {
      onInput: (bytes) => (this.#onWire += bytes),
      onData: (inflated) => this.#take(inflated),
      onEnd: () => this.#end(),
      onDrain: () => this.#drained(),
      onError: (cause) =>
        this.fail(invalid("content_encoding", "the service's answer does not inflate", this.status, cause)),
    })
    if (!this.#inflater.write(chunk)) this.#hold()
  }

  onResponseEnd(): void {
    if (this.#inflater) this.#inflater.end()
    else this.#end()
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.fail(fromWire(error, this.#sent, this.status || undefined))
  }

  get body(): AsyncIterable<Uint8Array> {
    return { [Symbol.asyncIterator]: () => this.#chunks() }
  }

  async text(): Promise<string> {
    this.#collecting = true
    this.#release()
    while (!this.#over) await new Promise<void>((resolve) => (this.#wake = resolve))
    if (this.#failure) throw this.#failure
    const bytes = this.#queue.length === 1 ? this.#queue[0]! : Buffer.concat(this.#queue)
    this.#queue = []
    if (!isUtf8(bytes)) throw invalid("invalid_utf8", "the service's answer is not UTF-8", this.status)
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")
    return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
  }

  discard(): void {
    this.#queue = []
    if (!this.#over)
      this.fail(new OutboundError(new ClarityError("cancelled", "the answer was discarded"), true, this.status))
  }

  /** Ends the exchange here and at the upstream. The first reason counts. */
  fail(error: OutboundError): void {
    if (this.#over) return
    this.#failure = error
    this.#queue = []
    this.#finish()
    this.#controller?.abort(error)
    this.#inflater?.destroy()
    this.#rejectHead(error)
  }

  async *#chunks(): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (;;) {
        const chunk = this.#queue.shift()
        if (chunk) {
          this.#queued -= chunk.length
          if (this.#queued < lowWater) this.#release()
          yield chunk
        } else if (this.#failure) throw this.#failure
        else if (this.#over) return
        else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      this.discard()
    }
  }

  #take(chunk: Uint8Array): void {
    if (this.#over) return
    this.#inflated += chunk.length
    if (this.#inflater && this.#inflated > ratioFree && this.#inflated > maxRatio * this.#onWire)
      return this.fail(invalid("inflation", "the service's answer inflates beyond all measure", this.status))
    if (this.#inflated > this.#request.maxBytes) return this.fail(tooLarge(this.#request.maxBytes, this.status))
    this.#queue.push(chunk)
    this.#queued += chunk.length
    if (this.#collecting) return
    if (this.#queued > highWater) {
      if (this.#inflater) {
        this.#stalled = true
        this.#inflater.pause()
      } else this.#hold()
    }
    this.#rouse()
  }

  #end(): void {
    if (this.#over) return
    this.#finish()
  }

  #finish(): void {
    this.#over = true
    this.#request.signal.removeEventListener("abort", this.#abort)
    this.#services.watch.delete(this)
    this.#services.onOver(this)
    this.#rouse()
  }

  #rouse(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #sign(): void {
    if (this.idleMs !== Infinity) this.lastSign = this.#services.clock.monotonic()
  }

  #hold(): void {
    if (this.#held) return
    this.#held = true
    this.#controller?.pause()
  }

  /** The inflater takes more; that the reader is slow is another matter. */
  #drained(): void {
    if (!this.#held || this.#over) return
    this.#held = false
    this.#sign()
    this.#controller?.resume()
  }

  #release(): void {
    if (!this.paused) return
    this.#sign()
    if (this.#stalled) {
      this.#stalled = false
      this.#inflater?.resume()
    }
    if (this.#held) {
      this.#held = false
      this.#controller?.resume()
    }
  }
}
