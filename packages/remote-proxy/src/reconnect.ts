import type { Clock, ServiceLog } from "@clarity-runtime/contracts"
import type { Pace, RpcMessage, TransportFailure } from "@clarity-runtime/mcp-peer"
import type { OutboundResponse } from "@clarity-runtime/outbound"
import { maxEventChars, readEvents, type StreamMemory } from "./event-stream.ts"
import { asTransportError } from "./failures.ts"
import { messagesIn } from "./messages.ts"

const firstDelayMs = 500
const longestDelayMs = 30_000

/** Wait before the n-th attempt in a row that brings nothing: doubling from what the server asked for, at most 30 s. */
export function reconnectDelayMs(attempt: number, retryMs: number | undefined): number {
  return Math.min((retryMs ?? firstDelayMs) * 2 ** (attempt - 1), longestDelayMs)
}

export interface ListenOptions {
  readonly name: string
  readonly clock: Clock
  readonly log: ServiceLog
  readonly pace: Pace
  readonly signal: AbortSignal
  /** Throws TransportError. */
  connect(lastEventId: string | undefined): Promise<OutboundResponse>
  message(message: RpcMessage, bytes: number): void
  alive(): void
  /** The session the stream belonged to is gone. */
  lost(): void
}

/** Opens the standing stream and keeps it open until the signal aborts. Resolves when it is open, or when the server has none. Throws TransportError. */
export async function keepListening(options: ListenOptions): Promise<void> {
  const { name, log, signal } = options
  let first: OutboundResponse
  try {
    first = await options.connect(undefined)
  } catch (thrown) {
    const { failure } = asTransportError(thrown, name)
    if (signal.aborted || !passing(failure)) return
    throw thrown
  }
  keep(first, options).catch((thrown: unknown) => {
    log.write("runtime", `${name}: the standing stream ended: ${asTransportError(thrown, name).message}`)
  })
}

/** May be otherwise the next time; a status below 500 is meant. */
function passing({ status }: TransportFailure): boolean {
  return status === undefined || status >= 500 || status === 429
}

async function keep(first: OutboundResponse, options: ListenOptions): Promise<void> {
  const { name, clock, log, pace, signal } = options
  const memory: StreamMemory = { lastEventId: undefined, retryMs: undefined }
  let response: OutboundResponse | undefined = first
  for (let attempt = 1; !signal.aborted; attempt++) {
    try {
      response ??= await options.connect(memory.lastEventId)
      await readEvents(response.body[Symbol.asyncIterator](), {
        name,
        maxChars: maxEventChars,
        memory,
        pace,
        clock,
        signal,
        alive: () => options.alive(),
        event(data) {
          for (const message of messagesIn(data, name)) {
            pace.unasked()
            options.message(message, data.length)
          }
          attempt = 0
          return false
        },
      })
    } catch (thrown) {
      if (signal.aborted) return
      const { failure } = asTransportError(thrown, name)
      if (failure.status === 404) return options.lost()
      if (!passing(failure)) throw thrown
      log.write("runtime", `${name}: the standing stream broke: ${failure.error.message}`)
    }
    response = undefined
    await clock.sleep(reconnectDelayMs(Math.max(1, attempt), memory.retryMs), signal)
  }
}
