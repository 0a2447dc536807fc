import type { Clock, ServiceLog } from "@clarity-runtime/contracts"
import type { Pace, RpcId, RpcMessage, TransportFailure } from "@clarity-runtime/mcp-peer"
import type { OutboundResponse } from "@clarity-runtime/outbound"
import { maxEventChars, readEvents, type StreamMemory } from "./event-stream.ts"
import { asTransportError, brokenOff } from "./failures.ts"
import { answers, messagesIn } from "./messages.ts"
import { reconnectDelayMs } from "./reconnect.ts"

export interface ReplyOptions {
  readonly id: RpcId
  readonly name: string
  readonly clock: Clock
  readonly log: ServiceLog
  readonly pace: Pace
  /** Ended when nobody wants the reply any more. */
  readonly abort: AbortController
  readonly signal: AbortSignal
  /** Characters of the whole stream, all its connections together. */
  readonly maxBytes: number
  /** Fetches the rest after that event; absent: a broken stream is a lost answer. Throws TransportError. */
  readonly resume?:
    | ((lastEventId: string, signal: AbortSignal, maxBytes: number) => Promise<OutboundResponse>)
    | undefined
  alive(): void
  message(message: RpcMessage, bytes: number): void
  /** Once, when the answer is in or will not come. */
  ended(failure: TransportFailure | undefined): void
}

/** Resumptions in a row that brought nothing new. */
const maxResumptions = 5
const lingerMs = 1000

/**
 * Reads the answer to one request from a stream, over as many connections as the service lets us resume. The request
 * has been sent: what becomes of a resumption says nothing about what became of the request. Never throws.
 */
export async function readReply(first: OutboundResponse, options: ReplyOptions): Promise<void> {
  const { name, clock, pace, abort, signal, maxBytes, resume } = options
  const memory: StreamMemory = { lastEventId: undefined, retryMs: undefined }
  let chunks: AsyncIterator<Uint8Array> | undefined = first.body[Symbol.asyncIterator]()
  let failure = brokenOff(name)
  let tries = 0
  let left = maxBytes

  function event(data: string): boolean {
    left -= data.length
    let answered = false
    for (const message of messagesIn(data, name)) {
      if ("method" in message) pace.unasked()
      options.message(message, data.length)
      answered ||= answers(message, options.id)
    }
    return answered
  }

  for (;;) {
    const { lastEventId: before } = memory
    try {
      if (!chunks && resume && before !== undefined)
        chunks = (await resume(before, signal, left)).body[Symbol.asyncIterator]()
      if (!chunks) break
      const maxChars = Number.isFinite(maxBytes) ? Math.max(maxEventChars, maxBytes) : maxEventChars
      if (await readEvents(chunks, { name, maxChars, memory, pace, clock, signal, alive: options.alive, event })) {
        options.ended(undefined)
        return await seeOff(chunks, options)
      }
    } catch (thrown) {
      const caught = asTransportError(thrown, name).failure
      if (chunks && caught.error.data.reason !== "connection_lost") {
        failure = caught
        break
      }
      if (!chunks && caught.status !== undefined) break
    }
    chunks = undefined
    if (!resume || memory.lastEventId === undefined) break
    tries = memory.lastEventId === before ? tries + 1 : 1
    if (tries > maxResumptions) break
    await clock.sleep(reconnectDelayMs(tries, memory.retryMs), signal)
    if (signal.aborted) break
  }
  options.ended(failure)
  abort.abort()
}

/** Lets a stream whose answer is in end by itself, so that its connection can be used again; but not for long. */
async function seeOff(chunks: AsyncIterator<Uint8Array>, { name, clock, log, abort }: ReplyOptions): Promise<void> {
  const patience = new AbortController()
  const drain = async () => {
    try {
      while (!(await chunks.next()).done);
    } catch (thrown) {
      if (!abort.signal.aborted) log.write("runtime", asTransportError(thrown, name).message)
    }
  }
  await Promise.race([drain(), clock.sleep(lingerMs, patience.signal)])
  patience.abort()
  abort.abort()
}
