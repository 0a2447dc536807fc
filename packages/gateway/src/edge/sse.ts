/** A server-sent event stream to one client. A reader that falls too far behind is cut off, never buffered for without bound. */
export interface SseChannel {
  readonly response: Response
  /** Queues one event; false once the stream is closed. */
  send(data: string, id?: string): boolean
  /** Resolves when the client has taken what was queued, or is gone. */
  drained(): Promise<void>
  /** Ends the stream after what is queued. */
  close(): void
  /** Aborted when the stream is over, whoever ended it. */
  readonly signal: AbortSignal
}

export interface SseOptions {
  readonly headers?: Readonly<Record<string, string>>
  /** Bytes queued for a client before it is cut off. */
  readonly maxQueued?: number
  readonly keepAliveMs?: number
}

const encoder = new TextEncoder()

export function openSse(options: SseOptions = {}): SseChannel {
  const { maxQueued = 1_048_576, keepAliveMs = 15_000 } = options
  const ended = new AbortController()
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined
  let wake: (() => void) | undefined

  const finish = () => {
    clearInterval(beat)
    ended.abort()
    wake?.()
  }
  const close = () => {
    if (ended.signal.aborted) return
    stream?.close()
    finish()
  }
  const push = (text: string): boolean => {
    if (ended.signal.aborted || stream === undefined) return false
    if ((stream.desiredSize ?? 0) < 0) {
      stream.error(new Error("the client reads too slowly"))
      finish()
      return false
    }
    stream.enqueue(encoder.encode(text))
    return true
  }
  const beat = setInterval(() => push(": \n\n"), keepAliveMs)
  beat.unref()

  const body = new ReadableStream<Uint8Array>(
    {
      start: (controller) => void (stream = controller),
      pull: () => wake?.(),
      cancel: finish,
    },
    new ByteLengthQueuingStrategy({ highWaterMark: maxQueued }),
  )
  return {
    response: new Response(body, {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        ...options.headers,
      },
    }),
    send: (data, id) => push(`${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`),
    async drained() {
      while (!ended.signal.aborted && (stream?.desiredSize ?? maxQueued) < maxQueued / 2) {
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
    close,
    signal: ended.signal,
  }
}
