import {
  ClarityError,
  modernVersions,
  Slots,
  type CallLimits,
  type Clock,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import {
  createPace,
  type Receiver,
  type RpcId,
  type RpcMessage,
  type SendOptions,
  type Transport,
  type TransportError,
} from "@clarity-runtime/mcp-peer"
import type { OutboundResponse } from "@clarity-runtime/outbound"
import type { Endpoint } from "./endpoint.ts"
import { maxEventChars, readEvents } from "./event-stream.ts"
import {
  asTransportError,
  invalid,
  isEventStream,
  isJson,
  notOpen,
  refusal,
  sessionLost,
  smallText,
  typeName,
} from "./failures.ts"
import { messagesIn } from "./messages.ts"
import { createOrder } from "./order.ts"
import { keepListening } from "./reconnect.ts"
import { readReply } from "./reply-stream.ts"

export interface TransportOptions {
  readonly endpoint: Endpoint
  readonly clock: Clock
  readonly log: ServiceLog
  /** For messages sent without limits of their own. */
  readonly defaults: Pick<CallLimits, "idleMs" | "maxResultBytes">
}

const farewellMs = 2000

/** One POST whose exchange is open. */
interface Posted {
  slot: number
  readonly id: RpcId
  readonly abort: AbortController
  /** Somebody still waits for its answer. */
  wanted: boolean
}

/**
 * MCP over streamable HTTP, as a client, in both protocol eras (2025-03-26 and later): an exchange per message.
 * Whoever gives a request limits keeps watch over its silence; a service that waits for a person's answer may be silent.
 */
export function streamableHttp({ endpoint, clock, log, defaults }: TransportOptions): Transport {
  const { name } = endpoint
  const life = new AbortController()
  const order = createOrder(clock, life.signal)
  const open = new Slots<Posted>()
  const pace = createPace(clock)
  let receiver: Receiver | undefined
  let session: string | undefined
  let version: string | undefined
  let bare: Readonly<Record<string, string>> = {}
  let headers: Readonly<Record<string, string>> = {}
  remember({})

  function remember(news: { session?: string | undefined; version?: string }): void {
    if ("session" in news) session = news.session
    if (news.version !== undefined) version = news.version
    bare = {
      accept: "application/json, text/event-stream",
      "accept-encoding": "gzip, br",
      "user-agent": "clarity-runtime",
      ...(session === undefined ? {} : { "mcp-session-id": session }),
      ...(version === undefined ? {} : { "mcp-protocol-version": version }),
    }
    headers = { ...bare, "content-type": "application/json" }
  }

  async function request(id: RpcId, message: RpcMessage, options: SendOptions): Promise<void> {
    if (!receiver) throw notOpen(name)
    const abort = new AbortController()
    const posted: Posted = { slot: -1, id, abort, wanted: true }
    open.add(posted)
    const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal
    const handshake = message["method"] === "initialize"
    const endless = message["method"] === "subscriptions/listen"
    const maxBytes = options.limits?.maxResultBytes ?? (endless ? Infinity : defaults.maxResultBytes)
    try {
      if (order.turn) await order.turn
      if (handshake) remember({ session: undefined })
      const response = await endpoint.request({
        method: "POST",
        headers: options.headers ? { ...headers, ...options.headers } : headers,
        body: JSON.stringify(message),
        signal,
        idleMs: options.limits || endless ? Infinity : defaults.idleMs,
        maxBytes,
      })
      if (response.status < 200 || response.status > 299) throw await refused(response)
      if (handshake) keepSession(response)
      const type = response.headers["content-type"]
      if (isEventStream(type)) return readStream(posted, signal, response, maxBytes)
      if (!isJson(type)) throw await unreadable(response)
      const text = await response.text()
      for (const one of messagesIn(text, name)) deliver(one, posted, text.length)
    } catch (thrown) {
      open.delete(posted)
      posted.wanted = false
      throw asTransportError(thrown, name)
    }
    open.delete(posted)
    if (!posted.wanted) return
    posted.wanted = false
    receiver?.ended(id, undefined)
  }

  function deliver(message: RpcMessage, posted: Posted, bytes: number): void {
    if (posted.wanted) receiver?.message(message, posted.id, bytes)
  }

  function readStream(posted: Posted, signal: AbortSignal, response: OutboundResponse, maxBytes: number): void {
    const { id, abort } = posted
    abort.signal.addEventListener("abort", () => open.delete(posted), { once: true })
    const modern = modernVersions.some((known) => known === version)
    void readReply(response, {
      id,
      name,
      clock,
      log,
      pace,
      abort,
      signal,
      maxBytes,
      resume: modern ? undefined : openStream,
      alive() {
        if (posted.wanted) receiver?.alive?.(id)
      },
      message: (message, bytes) => deliver(message, posted, bytes),
      ended(failure) {
        open.delete(posted)
        if (!posted.wanted) return
        posted.wanted = false
        receiver?.ended(id, failure)
      },
    })
  }

  /** A stream by GET. Throws TransportError when the answer is none. */
  async function openStream(
    lastEventId: string | undefined,
    signal: AbortSignal,
    maxBytes: number,
  ): Promise<OutboundResponse> {
    const resuming = lastEventId === undefined ? {} : { "last-event-id": lastEventId }
    const response = await endpoint.request({
      method: "GET",
      headers: { ...bare, accept: "text/event-stream", ...resuming },
      signal,
      idleMs: Infinity,
      maxBytes,
    })
    if (response.status !== 200) throw await refused(response)
    if (!isEventStream(response.headers["content-type"])) throw await unreadable(response)
    return response
  }

  /** A notification or a response: nothing is answered, but some servers put messages on the answer all the same. */
  async function post(message: RpcMessage, options: SendOptions): Promise<void> {
    if (!receiver) throw notOpen(name)
    try {
      const response = await endpoint.request({
        method: "POST",
        headers: options.headers ? { ...headers, ...options.headers } : headers,
        body: JSON.stringify(message),
        signal: options.signal ? AbortSignal.any([options.signal, life.signal]) : life.signal,
        idleMs: options.limits?.idleMs ?? defaults.idleMs,
        maxBytes: options.limits?.maxResultBytes ?? defaults.maxResultBytes,
      })
      if (response.status < 200 || response.status > 299) throw await refused(response)
      if (!isEventStream(response.headers["content-type"])) return void (await smallText(response))
      await readEvents(response.body[Symbol.asyncIterator](), {
        name,
        maxChars: maxEventChars,
        pace,
        clock,
        signal: life.signal,
        alive: () => {},
        event(data) {
          for (const stray of messagesIn(data, name)) {
            pace.unasked()
            receiver?.message(stray, undefined, data.length)
          }
          return false
        },
      })
    } catch (thrown) {
      throw asTransportError(thrown, name)
    }
  }

  function refused(response: OutboundResponse): Promise<TransportError> {
    return refusal(response, { name, clock, session: session !== undefined, authorized: endpoint.authorized })
  }

  async function unreadable(response: OutboundResponse): Promise<TransportError> {
    const type = typeName(response.headers["content-type"])
    if ((await smallText(response)) === "")
      return invalid(name, `gave an empty answer (HTTP ${response.status})`, "empty_answer")
    return invalid(name, `answered with ${type} instead of JSON or an event stream`, "content_type")
  }

  function keepSession(response: OutboundResponse): void {
    const given = response.headers["mcp-session-id"]
    if (given === undefined) return
    if (!/^[\x21-\x7e]{1,1024}$/.test(given)) throw invalid(name, "gave a malformed session id", "session_id")
    remember({ session: given })
  }

  async function farewell(): Promise<void> {
    if (session === undefined) return
    try {
      const { signal } = new AbortController()
      const ending = { method: "DELETE", headers: bare, signal, idleMs: farewellMs, maxBytes: 65_536 } as const
      await smallText(await endpoint.request(ending))
    } catch (thrown) {
      log.write("runtime", `the session was not ended: ${asTransportError(thrown, name).message}`)
    }
  }

  return {
    binding: "http",
    async open(given) {
      await endpoint.authorize()
      receiver = given
    },
    send(message, options) {
      const { id, method } = message
      if (method !== undefined && (typeof id === "number" || typeof id === "string"))
        return request(id, message, options)
      return order.posted(message, post(message, options))
    },
    abandon(id) {
      for (const posted of open) {
        if (posted.id !== id || !posted.wanted) continue
        posted.wanted = false
        posted.abort.abort()
      }
    },
    negotiated(agreed) {
      remember({ version: agreed })
    },
    async listen(signal) {
      const both = AbortSignal.any([signal, life.signal])
      await keepListening({
        name,
        clock,
        log,
        pace,
        signal: both,
        connect: (lastEventId) => openStream(lastEventId, both, Infinity),
        message: (message, bytes) => receiver?.message(message, undefined, bytes),
        alive: () => receiver?.alive?.(undefined),
        lost() {
          const gone = receiver
          receiver = undefined
          gone?.closed(sessionLost(name).failure)
        },
      })
    },
    async [Symbol.asyncDispose]() {
      if (life.signal.aborted) return
      receiver = undefined
      for (const posted of open) posted.wanted = false
      const gone = new ClarityError("unavailable", `${name} was closed`, { data: { service: name } })
      life.abort(gone)
      for (const { abort } of open) abort.abort(gone)
      await farewell()
    },
  }
}
