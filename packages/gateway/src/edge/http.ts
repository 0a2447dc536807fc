import type { IncomingMessage, ServerResponse } from "node:http"
import { abortError, ClarityError, type HeaderReader } from "@clarity-runtime/contracts"

/** What @hono/node-server hands in beside the request; absent on other platforms. */
export interface NodeBindings {
  readonly incoming?: IncomingMessage
  readonly outgoing?: ServerResponse
}

/** A request as the eras see it. Where Node's own objects are at hand they are read directly: this is every call's way in. */
export interface HttpRequest {
  readonly method: string
  readonly headers: HeaderReader
  /** Calls back when the client is gone, or when the answer has been sent. */
  onClose(listener: () => void): void
  /** The body, read once. Throws ClarityError `payload_too_large` as soon as it is longer than that. */
  body(maxBytes: number): Promise<Buffer>
}

export function httpRequest(request: Request, env: NodeBindings | undefined): HttpRequest {
  const incoming = env?.incoming
  return incoming?.headers === undefined ? new WebRequest(request) : new NodeRequest(request, incoming, env?.outgoing)
}

class NodeRequest implements HttpRequest {
  readonly method: string
  readonly headers: HeaderReader
  readonly #request: Request
  readonly #incoming: IncomingMessage
  readonly #outgoing: ServerResponse | undefined

  constructor(request: Request, incoming: IncomingMessage, outgoing: ServerResponse | undefined) {
    this.method = request.method
    this.headers = new IncomingHeaders(incoming.headers)
    this.#request = request
    this.#incoming = incoming
    this.#outgoing = outgoing
  }

  onClose(listener: () => void): void {
    if (this.#outgoing !== undefined) this.#outgoing.once("close", listener)
    else this.#request.signal.addEventListener("abort", listener, { once: true })
  }

  body(maxBytes: number): Promise<Buffer> {
    if (Number(this.headers.get("content-length") ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
    // Somebody before us has read the body; what the adaptor kept of it is all there is.
    if (this.#incoming.readableDidRead) return readStream(this.#request, maxBytes)
    return readIncoming(this.#incoming, maxBytes)
  }
}

class WebRequest implements HttpRequest {
  readonly method: string
  readonly headers: HeaderReader
  readonly #request: Request

  constructor(request: Request) {
    this.method = request.method
    this.headers = request.headers
    this.#request = request
  }

  onClose(listener: () => void): void {
    this.#request.signal.addEventListener("abort", listener, { once: true })
  }

  body(maxBytes: number): Promise<Buffer> {
    if (Number(this.headers.get("content-length") ?? 0) > maxBytes) return Promise.reject(tooLarge(maxBytes))
    return readStream(this.#request, maxBytes)
  }
}

class IncomingHeaders implements HeaderReader {
  readonly #headers: IncomingMessage["headers"]
  constructor(headers: IncomingMessage["headers"]) {
    this.#headers = headers
  }
  get(name: string): string | null {
    const value = this.#headers[name] ?? this.#headers[name.toLowerCase()]
    return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value
  }
}

function readIncoming(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let only: Buffer | undefined
    let chunks: Buffer[] | undefined
    let length = 0
    if (incoming.destroyed)
      return reject(new ClarityError("cancelled", "the client went away before its request was read"))
    incoming.on("data", (chunk: Buffer) => {
      length += chunk.length
      if (length > maxBytes) {
        incoming.removeAllListeners("data").pause()
        reject(tooLarge(maxBytes))
      } else if (only === undefined) only = chunk
      else (chunks ??= [only]).push(chunk)
    })
    incoming.once("end", () =>
      resolve(chunks === undefined ? (only ?? Buffer.alloc(0)) : Buffer.concat(chunks, length)),
    )
    incoming.once("close", () => {
      if (!incoming.readableEnded)
        reject(new ClarityError("cancelled", "the client went away before its request was complete"))
    })
    incoming.once("error", (cause) => reject(new ClarityError("cancelled", "the request broke off", { cause })))
  })
}

async function readStream(request: Request, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for await (const chunk of request.body ?? []) {
      length += chunk.length
      if (length > maxBytes) throw tooLarge(maxBytes)
      chunks.push(chunk)
    }
  } catch (error) {
    if (request.signal.aborted) throw abortError(request.signal)
    throw error
  }
  return Buffer.concat(chunks)
}

function tooLarge(maxBytes: number): ClarityError {
  return new ClarityError("payload_too_large", `request body too large (>${maxBytes} bytes)`)
}
