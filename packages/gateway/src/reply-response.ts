import type { Alarms } from "./alarms.ts"
import { asClarityError, type ClarityError, type McpResult } from "@clarity-runtime/contracts"
import { jsonResponse } from "./edge/rpc.ts"
import { openSse, type SseChannel } from "./edge/sse.ts"

/** How one era writes the parts of a reply. */
export interface ReplyFormat<Step> {
  /** Undefined: this step is not for this client. */
  step(step: Step): string | undefined
  result(result: McpResult): string
  error(error: ClarityError): { readonly text: string; readonly status: number }
  /** False: the client takes JSON only, steps are dropped. */
  readonly streams: boolean
}

/** Where a stream goes: straight to the client, or through something that remembers it. */
export interface EventSink {
  send(text: string): boolean
  drained(): Promise<void>
  end(): void
}

export interface ReplyStream {
  readonly response: Response
  readonly sink: EventSink
}

/** After this long without a step the answer becomes a stream, so that keep-alives can tell the client it is being worked on. */
const patienceMs = 10_000

export interface ReplyEnds {
  /** The client has closed the stream. */
  hangUp(): void
  /** The reply is complete; what closes from now on closes in order. */
  done(): void
  /** Given the stream, where the reply became one, to close it before its time. */
  opened?(stream: Pick<SseChannel, "close" | "signal">): void
}

/**
 * A reply as an HTTP response: one step is JSON, more are a server-sent event stream, opened at the first of them.
 * `openStream` is asked for the stream then; by default one whose closing by the client hangs up.
 */
export async function replyResponse<Step>(
  alarms: Alarms,
  reply: AsyncGenerator<Step, McpResult, void>,
  format: ReplyFormat<Step>,
  ends: ReplyEnds,
  openStream: () => ReplyStream = () => plainStream(ends),
): Promise<Response> {
  try {
    const first = reply.next()
    const early = format.streams ? await inTime(alarms, first) : await first
    if (early === "slow") return stream(openStream(), reply, first, format, ends)
    if (!early.done && format.streams) return stream(openStream(), reply, early, format, ends)
    const result = early.done ? early.value : await lastOf(reply)
    ends.done()
    return jsonResponse(format.result(result))
  } catch (thrown) {
    ends.done()
    const { text, status } = format.error(asClarityError(thrown))
    return jsonResponse(text, status)
  }
}

function stream<Step>(
  { response, sink }: ReplyStream,
  reply: AsyncGenerator<Step, McpResult, void>,
  first: IteratorResult<Step, McpResult> | Promise<IteratorResult<Step, McpResult>>,
  format: ReplyFormat<Step>,
  ends: ReplyEnds,
): Response {
  const pump = async () => {
    try {
      let step = await first
      while (!step.done) {
        const text = format.step(step.value)
        if (text !== undefined) sink.send(text)
        await sink.drained()
        step = await reply.next()
      }
      sink.send(format.result(step.value))
    } catch (thrown) {
      sink.send(format.error(asClarityError(thrown)).text)
    } finally {
      ends.done()
      sink.end()
      // A step that could not be written leaves its call under way; to one that has ended this does nothing.
      await reply.return(undefined as never)
    }
  }
  void pump()
  return response
}

function plainStream(ends: ReplyEnds): ReplyStream {
  const channel = openSse()
  channel.signal.addEventListener("abort", () => ends.hangUp(), { once: true })
  ends.opened?.(channel)
  return {
    response: channel.response,
    sink: { send: (text) => channel.send(text), drained: () => channel.drained(), end: () => channel.close() },
  }
}

async function lastOf<Step>(reply: AsyncGenerator<Step, McpResult, void>): Promise<McpResult> {
  for (;;) {
    const step = await reply.next()
    if (step.done) return step.value
  }
}

function inTime<T>(alarms: Alarms, first: Promise<T>): Promise<T | "slow"> {
  return new Promise((resolve, reject) => {
    const alarm = alarms.set(patienceMs, () => resolve("slow"))
    first.then(
      (value) => {
        alarms.clear(alarm)
        resolve(value)
      },
      (error: unknown) => {
        alarms.clear(alarm)
        reject(error as Error)
      },
    )
  })
}
