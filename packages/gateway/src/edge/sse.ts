/** A server-sent event stream to one client. A reader that falls too far behind is cut off, never buffered for without bound. */
export interface SseChannel {
  readonly response: Response
  /** Queues one event; false once the stream is closed. */
  send(data: string, id?: string): boolean
  /** Resolves when the client has taken what was queued, or is gone; one that takes nothing for `stalledMs` is cut off. */
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
  /** How long a client may take nothing while somebody waits for it. */
  readonly stalledMs?: number
}

/** Bytes that wait for a client where nothing else is said. */
export const defaultQueued = 1_048_576

const encoder = new TextEncoder()

export function openSse(options: SseOptions = {}): SseChannel {
  const { maxQueued = defaultQueued, keepAliveMs = 15_000, stalledMs = 60_000 } = options
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
  const cutOff = () => {
    if (ended.signal.aborted) return
    stream?.error(new Error("the client reads too slowly"))
    finish()
  }
  const push = (text: string): boolean => {
    if (ended.signal.aborted || stream === undefined) return false
    if ((stream.desiredSize ?? 0) < 0) {
      cutOff()
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
        const late = setTimeout(cutOff, stalledMs)
        late.unref()
        await new Promise<void>((resolve) => (wake = resolve))
        clearTimeout(late)
      }
    },
    close,
    signal: ended.signal,
  }
}
