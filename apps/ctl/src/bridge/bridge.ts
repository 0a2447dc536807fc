import type { Readable } from "node:stream"
import { asClarityError, ClarityError, systemClock, type Clock } from "@clarity-runtime/contracts"
import type { Endpoint } from "./endpoint.ts"
import { createLegacySession } from "./legacy-session.ts"
import { readLines } from "./lines.ts"
import {
  errorLine,
  idKey,
  readMessage,
  type Message,
  type NotificationMessage,
  type RequestMessage,
} from "./message.ts"
import { createModernCalls } from "./modern-calls.ts"
import { failureLine } from "./relay.ts"

export interface BridgeOptions {
  readonly endpoint: Endpoint
  readonly input: Readable
  /** Writes one line to the client; resolves when it can take more. */
  readonly write: (line: string) => Promise<void>
  /** For people: never on the client's stream. */
  readonly warn: (text: string) => void
  /** Aborted: stop at once. */
  readonly signal: AbortSignal
  readonly clock?: Clock
}

const longestLine = 10 * 1024 * 1024
const mostCalls = 1024
/** A cancellation may overtake the call it is for; it is said once more after this long. */
const sayAgainMs = 250

interface Running {
  readonly request: RequestMessage
  readonly abort: AbortController
  cancelled: boolean
}

/**
 * Serves one stdio client from the daemon's endpoint, every line as an exchange of its own, so that none waits for
 * another. Resolves when the client has closed its side and every call is answered.
 */
export async function runBridge({
  endpoint,
  input,
  write,
  warn,
  signal,
  clock = systemClock,
}: BridgeOptions): Promise<void> {
  const gone = new AbortController()
  const ending = AbortSignal.any([gone.signal, signal])
  const session = createLegacySession({ endpoint, clock, write, warn, signal: ending })
  const modern = createModernCalls(endpoint, clock)
  const running = new Map<string, Running>()
  const pending = new Set<Promise<void>>()

  const track = (work: Promise<void>) => {
    const tracked = work
      .catch((error: unknown) => {
        if (!ending.aborted) warn(error instanceof Error ? error.message : String(error))
      })
      .finally(() => pending.delete(tracked))
    pending.add(tracked)
  }

  async function answer(request: RequestMessage): Promise<void> {
    if (running.size >= mostCalls) {
      return write(
        failureLine(request.id, new ClarityError("rate_limited", `too many calls at once (${mostCalls}/${mostCalls})`)),
      )
    }
    const entry: Running = { request, abort: new AbortController(), cancelled: false }
    running.set(idKey(request.id), entry)
    const wanted = () => !entry.cancelled
    const listening = request.method === "subscriptions/listen"
    const until = AbortSignal.any([entry.abort.signal, listening ? ending : signal])
    try {
      if (request.era === "legacy") await session.call(request, until, { wanted, write })
      else if (listening) await modern.listen(request, until, { wanted, write })
      else await modern.call(request, until, { wanted, write })
    } catch (thrown) {
      if (wanted() && !until.aborted)
        await write(failureLine(request.id, asClarityError(thrown, "the bridge failed on this call")))
    } finally {
      if (running.get(idKey(request.id)) === entry) running.delete(idKey(request.id))
    }
  }

  /** Over HTTP a modern call ends with its exchange; a legacy one is told, for its session outlives exchanges. */
  async function cancel(notification: NotificationMessage): Promise<void> {
    const key = idKey(notification.params["requestId"])
    const entry = running.get(key)
    if (entry === undefined) return
    entry.cancelled = true
    if (entry.request.era === "modern" || !session.established) return entry.abort.abort()
    await session.notify(notification)
    await clock.sleep(sayAgainMs, ending)
    if (running.get(key) === entry && !ending.aborted) await session.notify(notification)
  }

  async function handle(message: Message): Promise<void> {
    switch (message.kind) {
      case "request":
        return answer(message)
      case "notification":
        if (message.method === "notifications/cancelled") return cancel(message)
        return message.era === "modern" ? modern.notify(message, ending) : session.notify(message)
      case "response":
      case "batch":
        return session.pass(message.text)
      case "broken":
        return write(errorLine(undefined, message.code, message.why))
    }
  }

  try {
    for await (const line of readLines(input, longestLine)) {
      if (signal.aborted) break
      const message = line === undefined ? tooLong : readMessage(line)
      track(handle(message))
      // Lines that come together begin in their order: a notification does not overtake the request before it.
      await Promise.resolve()
    }
    for (const { request, abort } of running.values()) if (request.method === "subscriptions/listen") abort.abort()
    while (pending.size > 0 && !signal.aborted) await Promise.race([Promise.all(pending), aborted(signal)])
  } finally {
    gone.abort()
    await session.end()
  }
}

const tooLong: Message = { kind: "broken", text: "", why: `a line may have at most ${longestLine} bytes`, code: -32600 }

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }))
}
