import { ClarityError } from "@clarity-runtime/contracts"
import {
  createPace,
  isRefusedUnread,
  TransportError,
  type Receiver,
  type RpcMessage,
  type SendOptions,
  type Transport,
} from "@clarity-runtime/mcp-peer"
import { maxEventChars, readEvents } from "./event-stream.ts"
import {
  asTransportError,
  brokenOff,
  invalid,
  isEventStream,
  notOpen,
  refusal,
  smallText,
  typeName,
} from "./failures.ts"
import { messagesIn } from "./messages.ts"
import { createOrder } from "./order.ts"
import type { TransportOptions } from "./streamable-http.ts"

/** MCP over HTTP with server-sent events, as a client: one standing stream down, a POST for each message up (2024-11-05). */
export function httpSse({ endpoint, clock, defaults }: TransportOptions): Transport {
  const { name } = endpoint
  const life = new AbortController()
  const context = { name, clock, session: false, authorized: endpoint.authorized }
  const order = createOrder(clock, life.signal)
  const pace = createPace(clock)
  let receiver: Receiver | undefined
  let target: URL | undefined

  /** Reads the stream to its end; `onEndpoint` hears of the first `endpoint` event, the receiver of everything after. */
  async function read(chunks: AsyncIterator<Uint8Array>, given: Receiver, onEndpoint: () => void): Promise<void> {
    await readEvents(chunks, {
      name,
      maxChars: Math.max(maxEventChars, defaults.maxResultBytes),
      pace,
      clock,
      signal: life.signal,
      alive: () => given.alive?.(undefined),
      event(data, type) {
        if (type === "endpoint") {
          if (target) return false
          target = sameOrigin(data)
          receiver = given
          onEndpoint()
        } else if (target && (type === undefined || type === "message") && !isRefusedUnread(data, data.length, given))
          for (const message of messagesIn(data, name)) {
            if ("method" in message) pace.unasked()
            given.message(message, undefined, data.length)
          }
        return false
      },
    })
  }

  function sameOrigin(address: string): URL {
    const url = URL.parse(address.trim(), endpoint.url.href)
    if (url === null || url.origin !== endpoint.url.origin || url.username !== "" || url.password !== "")
      throw invalid(name, "named an endpoint at another origin, where nothing is sent", "endpoint_origin")
    url.hash = ""
    return url
  }

  async function post(message: RpcMessage, options: SendOptions): Promise<void> {
    if (!receiver || !target) throw notOpen(name)
    const signal = options.signal ? AbortSignal.any([options.signal, life.signal]) : life.signal
    try {
      const response = await endpoint.request({
        method: "POST",
        url: target,
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "user-agent": "clarity-runtime",
        },
        body: JSON.stringify(message),
        signal,
        idleMs: defaults.idleMs,
        maxBytes: defaults.maxResultBytes,
      })
      if (response.status < 200 || response.status > 299) throw await refusal(response, context)
      await smallText(response)
    } catch (thrown) {
      throw asTransportError(thrown, name)
    }
  }

  function close(thrown: unknown): void {
    const open = receiver
    receiver = undefined
    if (life.signal.aborted) return
    const failure = thrown === undefined ? brokenOff(name) : asTransportError(thrown, name).failure
    open?.closed(failure)
    // Messages still being posted fail for the same reason; nobody has cancelled them.
    life.abort(failure.error)
  }

  return {
    binding: "pipe",
    async open(given, signal) {
      await endpoint.authorize()
      const giveUp = () => life.abort(signal.reason)
      if (signal.aborted) giveUp()
      signal.addEventListener("abort", giveUp, { once: true })
      const patience = new AbortController()
      void clock.sleep(defaults.idleMs, patience.signal).then(() => {
        const late = new ClarityError("upstream_timeout", `${name} did not open its event stream in time`, {
          data: { service: name },
        })
        if (!patience.signal.aborted) life.abort(late)
        return undefined
      })
      try {
        const response = await endpoint.request({
          method: "GET",
          headers: { accept: "text/event-stream", "cache-control": "no-store", "user-agent": "clarity-runtime" },
          signal: life.signal,
          idleMs: Infinity,
          maxBytes: Infinity,
        })
        if (response.status !== 200) throw await refusal(response, context)
        const type = response.headers["content-type"]
        if (!isEventStream(type)) {
          response.discard()
          throw invalid(name, `answered with ${typeName(type)} instead of an event stream`, "content_type")
        }
        await new Promise<void>((resolve, reject) => {
          read(response.body[Symbol.asyncIterator](), given, resolve).then(
            () => (target ? close(undefined) : reject(new TransportError(brokenOff(name)))),
            (thrown: unknown) => (target ? close(thrown) : reject(thrown)),
          )
        })
      } catch (thrown) {
        life.abort()
        throw asTransportError(thrown, name)
      } finally {
        patience.abort()
        signal.removeEventListener("abort", giveUp)
      }
    },
    async send(message, options) {
      if (order.turn) await order.turn
      return order.posted(message, post(message, options))
    },
    abandon() {},
    async [Symbol.asyncDispose]() {
      receiver = undefined
      life.abort(new ClarityError("unavailable", `${name} was closed`, { data: { service: name } }))
    },
  }
}
