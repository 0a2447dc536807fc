import { ClarityError, whenCredentialsEnd, type Clock, type Principal } from "@clarity-runtime/contracts"

export interface StreamEvent {
  readonly data: unknown
  readonly id?: number
}

const encoder = new TextEncoder()
const keepAliveMs = 15_000
/** Readers exist that drop what goes over 4,096 bytes of one event. */
const longestEvent = 4000

/** Counts open streams, so that nobody can hold more than a share of them. */
export interface StreamCount {
  /** Throws `rate_limited`. Gives back what takes the place away again. */
  enter(principalId: string): () => void
}

export function countStreams(total = 1024, perPrincipal = 16): StreamCount {
  const open = new Map<string, number>()
  let all = 0
  return {
    enter(id) {
      const mine = open.get(id) ?? 0
      if (all >= total || mine >= perPrincipal) {
        throw new ClarityError("rate_limited", `too many streams are open (${mine >= perPrincipal ? mine : all})`, {
          data: { retryAfterMs: 1000 },
        })
      }
      all++
      open.set(id, mine + 1)
      let left = false
      return () => {
        if (left) return
        left = true
        all--
        const rest = (open.get(id) ?? 1) - 1
        if (rest > 0) open.set(id, rest)
        else open.delete(id)
      }
    },
  }
}

/**
 * Server-sent events: headers and a comment at once, one line of JSON for each event, comments while nothing happens.
 * Events are only taken as fast as the client reads, so what waits for a slow one is what the source keeps for it.
 * Ends when the source does, the reader hangs up, its credentials are no longer good, or `closing` aborts.
 */
export function eventStream(
  { clock, closing }: { readonly clock: Clock; readonly closing?: AbortSignal },
  reader: Principal,
  open: (signal: AbortSignal) => AsyncIterator<StreamEvent>,
  over: () => void,
): Response {
  const gone = new AbortController()
  const events = open(gone.signal)
  let waiting: Promise<IteratorResult<StreamEvent>> | undefined
  let close = () => {}
  const end = () => {
    closing?.removeEventListener("abort", close)
    gone.abort()
    over()
  }
  const body = new ReadableStream<Uint8Array>(
    {
      start(out) {
        out.enqueue(encoder.encode(": open\n\n"))
        close = () => {
          end()
          out.close()
        }
        if (closing?.aborted === true) return close()
        closing?.addEventListener("abort", close, { once: true })
        whenCredentialsEnd(reader, clock.now(), gone.signal, close)
      },
      async pull(out) {
        waiting ??= events.next()
        const idle = new AbortController()
        const step = await Promise.race([
          waiting,
          clock.sleep(keepAliveMs, AbortSignal.any([idle.signal, gone.signal])),
        ])
        idle.abort()
        if (gone.signal.aborted) return
        if (step === undefined) return out.enqueue(encoder.encode(": ping\n\n"))
        waiting = undefined
        if (step.done === true) {
          end()
          return out.close()
        }
        out.enqueue(encoder.encode(frame(step.value)))
      },
      async cancel() {
        end()
        await events.return?.()
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: 65_536 }),
  )
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  })
}

function frame({ data, id }: StreamEvent): string {
  let line = JSON.stringify(data)
  if (line.length > longestEvent) line = JSON.stringify(shortened(data))
  return `${id === undefined ? "" : `id: ${id}\n`}data: ${line}\n\n`
}

/** A long event without its `data`, its words cut: the whole is to be had from the list. */
function shortened(event: unknown): unknown {
  const { data: _, ...rest } = event as Record<string, unknown>
  const cut = Object.entries(rest).map(([key, value]) => [
    key,
    typeof value === "string" ? value.slice(0, 1000) : value,
  ])
  return { ...Object.fromEntries(cut), truncated: true }
}
