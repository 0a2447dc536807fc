import { asClarityError, ClarityError, isJsonObject, type Clock, type JsonObject } from "@clarity-runtime/contracts"
import type { Endpoint } from "./endpoint.ts"
import type { NotificationMessage, RequestMessage } from "./message.ts"
import { lostCall, parsed, relay, repeatable, responseTo, type RelayOptions } from "./relay.ts"
import { messagesOf, singleLine } from "./replies.ts"

export interface LegacySessionOptions {
  readonly endpoint: Endpoint
  readonly clock: Clock
  readonly write: (line: string) => Promise<void>
  readonly warn: (text: string) => void
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal
}

/**
 * The session of a client of the revisions up to 2025-11-25. When the daemon has forgotten it (it was started anew), it
 * is begun again the way the client began it, with its log level and its subscriptions, and the client learns only that
 * lists may have changed.
 */
export interface LegacySession {
  call(request: RequestMessage, signal: AbortSignal, options: RelayOptions): Promise<void>
  /** Passes on what wants no answer: a notification, or a response to a question of the daemon's. Throws ClarityError. */
  pass(text: string): Promise<void>
  notify(notification: NotificationMessage): Promise<void>
  /** True once the daemon keeps a session for this client. */
  readonly established: boolean
  /** Tells the daemon that the session is over, if it listens. */
  end(): Promise<void>
}

interface Live {
  readonly id: string | undefined
  readonly version: string | undefined
  readonly capabilities: JsonObject
}

const initialized = '{"jsonrpc":"2.0","method":"notifications/initialized"}'
const reconnectMs = 200
const longestReconnectMs = 5000

export function createLegacySession(options: LegacySessionOptions): LegacySession {
  const { endpoint, clock, write, warn, signal } = options
  let live: Live | undefined
  let begunWith: RequestMessage | undefined
  let renewing: Promise<void> | undefined
  let beginning: Promise<void> | undefined
  let logLevel: string | undefined
  let standing = new AbortController()
  const subscriptions = new Map<string, string>()

  const headers = (): Record<string, string> => ({
    ...(live?.id === undefined ? {} : { "mcp-session-id": live.id }),
    ...(live?.version === undefined ? {} : { "mcp-protocol-version": live.version }),
  })
  const post = (body: string, until: AbortSignal) =>
    endpoint.send({ method: "POST", body, headers: headers(), signal: until })

  function begin(response: Response, result: unknown): Live {
    const body = isJsonObject(result) ? result : {}
    const { protocolVersion, capabilities } = body
    live = {
      id: response.headers.get("mcp-session-id") ?? undefined,
      version: typeof protocolVersion === "string" ? protocolVersion : undefined,
      capabilities: isJsonObject(capabilities) ? capabilities : {},
    }
    return live
  }

  async function initialize(request: RequestMessage, until: AbortSignal, relaying: RelayOptions): Promise<void> {
    standing.abort()
    live = undefined
    subscriptions.clear()
    begunWith = request
    const response = await post(request.text, until)
    const { answered } = await relay(request, response, { ...relaying, onResult: (result) => begin(response, result) })
    if (!answered) throw new ClarityError("unavailable", `the daemon at ${endpoint.url} went away during initialize`)
  }

  /** What comes while hands are being shaken waits for that: it belongs to the session that comes of it. */
  async function settled(): Promise<void> {
    await beginning?.catch(() => undefined)
    await renewing
  }

  /** Shakes hands again for the client; at once only, however many calls find the session gone. */
  function renew(gone: Live | undefined): Promise<void> {
    if (live !== gone) return Promise.resolve()
    renewing ??= shakeHands().finally(() => (renewing = undefined))
    return renewing
  }

  async function shakeHands(): Promise<void> {
    if (begunWith === undefined) throw new ClarityError("not_found", "the daemon does not know this session")
    standing.abort()
    live = undefined
    const response = await post(begunWith.text, signal)
    let answer: JsonObject | undefined
    if (response.ok) for await (const { text } of messagesOf(response)) answer ??= responseTo(begunWith.id, text)
    if (!isJsonObject(answer?.["result"])) {
      throw new ClarityError(
        "unavailable",
        `the daemon at ${endpoint.url} was started anew and does not take this client again`,
      )
    }
    const { capabilities } = begin(response, answer["result"])
    for (const body of [initialized, logLevel, ...subscriptions.values()]) {
      if (body !== undefined) await (await post(body, signal)).body?.cancel()
    }
    warn(`the daemon at ${endpoint.url} was started anew; the session goes on`)
    listen()
    for (const list of ["tools", "prompts", "resources"]) {
      const offered = capabilities[list]
      if (isJsonObject(offered) && offered["listChanged"] === true) {
        await write(`{"jsonrpc":"2.0","method":"notifications/${list}/list_changed"}`)
      }
    }
  }

  /** Keeps the stream for what belongs to no request open. */
  function listen(): void {
    if (live?.id === undefined) return
    standing.abort()
    standing = new AbortController()
    void follow(live, AbortSignal.any([standing.signal, signal])).catch((error: unknown) => {
      if (!signal.aborted) warn(asClarityError(error).message)
    })
  }

  async function follow(session: Live, until: AbortSignal): Promise<void> {
    let lastEventId: string | undefined
    let delay = reconnectMs
    while (!until.aborted) {
      try {
        const resume = lastEventId === undefined ? {} : { "last-event-id": lastEventId }
        const response = await endpoint.send({ method: "GET", headers: { ...headers(), ...resume }, signal: until })
        if (response.status === 404) {
          await response.body?.cancel()
          return await renew(session)
        }
        if (!response.ok) return await response.body?.cancel()
        for await (const { text, eventId } of messagesOf(response)) {
          lastEventId = eventId ?? lastEventId
          delay = reconnectMs
          await write(singleLine(text))
        }
      } catch (error) {
        if (until.aborted) return
        if (!["unavailable", "outcome_unknown"].includes(asClarityError(error).code)) throw error
      }
      await clock.sleep(delay, until)
      delay = Math.min(delay * 2, longestReconnectMs)
    }
  }

  async function exchange(
    request: RequestMessage,
    until: AbortSignal,
    relaying: RelayOptions,
    again: boolean,
  ): Promise<void> {
    await settled()
    const session = live
    const response = await post(request.text, until).catch((error: unknown) => {
      throw asClarityError(error).code === "outcome_unknown" && !repeatable(request) ? lostCall(request) : error
    })
    if (response.status === 404 && session?.id !== undefined && again) {
      await response.body?.cancel()
      await renew(session)
      return exchange(request, until, relaying, false)
    }
    const { answered, lastEventId } = await relay(request, response, relaying)
    if (answered || (lastEventId !== undefined && (await resume(request, lastEventId, until, relaying)))) return
    if (!repeatable(request) || !again) throw lostCall(request)
    return exchange(request, until, relaying, false)
  }

  /** Reads on a stream that broke; false when the daemon does not have it any more. */
  async function resume(
    request: RequestMessage,
    from: string,
    until: AbortSignal,
    relaying: RelayOptions,
  ): Promise<boolean> {
    for (let lastEventId: string | undefined = from; lastEventId !== undefined;) {
      const response = await endpoint.send({
        method: "GET",
        headers: { ...headers(), "last-event-id": lastEventId },
        signal: until,
      })
      if (!response.ok) {
        await response.body?.cancel()
        return false
      }
      const outcome = await relay(request, response, relaying)
      if (outcome.answered) return true
      if (outcome.lastEventId === undefined) return false
      lastEventId = outcome.lastEventId
      await clock.sleep(reconnectMs, until)
    }
    return false
  }

  function remember({ method, params, text }: RequestMessage): void {
    if (method === "logging/setLevel") logLevel = text
    if (typeof params["uri"] !== "string") return
    if (method === "resources/subscribe") subscriptions.set(params["uri"], text)
    if (method === "resources/unsubscribe") subscriptions.delete(params["uri"])
  }

  return {
    get established() {
      return live?.id !== undefined
    },
    async call(request, until, relaying) {
      if (request.method === "initialize") {
        beginning = initialize(request, until, relaying).finally(() => (beginning = undefined))
        return beginning
      }
      remember(request)
      try {
        return await exchange(request, until, relaying, true)
      } catch (error) {
        if (asClarityError(error).code !== "outcome_unknown" || !repeatable(request)) throw error
        return exchange(request, until, relaying, false)
      }
    },
    async pass(text) {
      await settled()
      const response = await post(text, signal)
      if (response.status === 202) return await response.body?.cancel()
      if (response.ok) {
        for await (const message of messagesOf(response)) await write(singleLine(message.text))
        return
      }
      const refusal = parsed(await response.text())
      const words = isJsonObject(refusal) && isJsonObject(refusal["error"]) ? refusal["error"]["message"] : undefined
      throw new ClarityError(
        "upstream_invalid",
        `the daemon refused a message: ${String(words ?? `HTTP ${response.status}`)}`,
      )
    },
    async notify(notification) {
      await this.pass(notification.text)
      if (notification.method === "notifications/initialized") listen()
    },
    async end() {
      standing.abort()
      if (live?.id === undefined) return
      const session = headers()
      live = undefined
      await endpoint.send({ method: "DELETE", headers: session, signal: AbortSignal.timeout(1000) }).then(
        (response) => response.body?.cancel(),
        () => undefined,
      )
    },
  }
}
