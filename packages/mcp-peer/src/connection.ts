import {
  ClarityError,
  isJsonObject,
  type CallLimits,
  type Clock,
  type Era,
  type JsonObject,
  type RpcError,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import { readAnswer } from "./answers.ts"
import { createBarrier } from "./barrier.ts"
import { createDropCounter } from "./drops.ts"
import { Exchange, type Ended, type ExchangeOptions } from "./exchange.ts"
import { createIdleWatch } from "./idle.ts"
import { InFlight } from "./in-flight.ts"
import {
  TransportError,
  type Receiver,
  type RpcId,
  type SendOptions,
  type Transport,
  type TransportFailure,
} from "./transport.ts"

export interface ConnectionOptions {
  /** Who is spoken to, for messages. */
  readonly name: string
  readonly dial: () => Transport
  readonly clock: Clock
  readonly log: ServiceLog
  /** What belongs to no call: changes of lists and resources, log lines nobody asked for. */
  readonly onNotice: (method: string, params: JsonObject, connection: Connection) => void
  readonly onClosed: (failure: TransportFailure | undefined, connection: Connection) => void
}

export interface RequestOptions extends ExchangeOptions {
  readonly headers?: Readonly<Record<string, string>>
}

export interface AskOptions {
  readonly signal: AbortSignal
  readonly limits?: CallLimits
  readonly headers?: Readonly<Record<string, string>>
}

/** One open transport with the ids on it: whatever arrives goes to the request it answers, or nowhere. */
export interface Connection extends AsyncDisposable {
  readonly binding: Transport["binding"]
  readonly transport: Transport
  /** Set when the handshake is done. `barrier` is a request whose answer proves that everything before it has been read. */
  agree(era: Era, barrier: { readonly method: string; readonly params: JsonObject }): void
  /** Begins a request; `params` may depend on its id. Never throws: what goes wrong is how the exchange ends. */
  request(method: string, params: JsonObject | ((id: number) => JsonObject), options: RequestOptions): Exchange
  /** One request of the peer's own, to its end. */
  ask(method: string, params: JsonObject, options: AskOptions): Promise<Ended>
  /** Sends a notification; failing to is no error. */
  notify(method: string, params?: JsonObject): void
  /** Answers a request of the upstream's. */
  answer(id: RpcId, answer: { readonly result: JsonObject } | { readonly error: RpcError }): void
  /** Ends a request here and at the upstream. */
  cancel(exchange: Exchange, error: ClarityError): void
  readonly closed: boolean
  /** Calls under way. */
  readonly calls: number
  /** True once the upstream asked something on no call's exchange: only one askable call at a time is then safe. */
  readonly asksAtLarge: boolean
}

const questionMethods = new Set(["elicitation/create", "sampling/createMessage", "roots/list"])
const barrierLimits: CallLimits = { idleMs: 5000, totalMs: 5000, maxResultBytes: 65_536 }

/** Dials and opens. Throws TransportError or ClarityError; nothing is left open then. */
export async function openConnection(options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
  const { name, clock, log } = options
  const transport = options.dial()
  const inFlight = new InFlight()
  const drops = createDropCounter(name, log)
  let era: Era | undefined
  let proof: { readonly method: string; readonly params: JsonObject } = { method: "ping", params: {} }
  let closed = false
  let asksAtLarge = false
  /** Cancelled calls of which something may still be on its way. */
  let unsettled = 0
  const barrier = createBarrier(() =>
    ask(proof.method, proof.params, { signal: new AbortController().signal, limits: barrierLimits }),
  )
  const idle = createIdleWatch(clock, inFlight, (exchange) =>
    cancel(exchange, new ClarityError("upstream_timeout", `${name} gave no sign of life in time`)),
  )

  function finish(exchange: Exchange, ended: Ended): void {
    inFlight.delete(exchange.id)
    exchange.end(ended)
    exchange.onSettled?.()
  }

  /** The only call to which a message without an address can belong; for a question, one that is not held up by another. */
  function onlyCall(askable: boolean): Exchange | undefined {
    const found: Exchange[] = []
    for (const exchange of inFlight.values()) {
      if (exchange.options.purpose !== "call" || (askable && exchange.options.askable !== true)) continue
      found.push(exchange)
    }
    if (found.length < 2) return found[0]
    const running = askable ? found.filter(({ waiting }) => !waiting) : []
    return running.length === 1 ? running[0] : undefined
  }

  function onResponse(message: JsonObject, related: RpcId | undefined, bytes: number | undefined): void {
    let id = message["id"]
    if ((id === null || id === undefined) && message["error"] && related !== undefined) id = related
    const exchange = typeof id === "number" ? inFlight.get(id) : undefined
    if (!exchange || (related !== undefined && related !== id)) return drops.count("an answer to no request of ours")
    finish(exchange, readAnswer(message, name, bytes, exchange.options.limits))
  }

  function onNotification(method: string, params: JsonObject, related: RpcId | undefined, bytes = 0): void {
    if (method === "notifications/progress") {
      const token = params["progressToken"]
      const exchange = typeof token === "number" ? inFlight.get(token) : undefined
      if (!exchange || (related !== undefined && related !== token)) return drops.count("progress of no call")
      exchange.lastSign = clock.monotonic()
      return exchange.push({ kind: "notification", method, params }, bytes)
    }
    if (related !== undefined) {
      const exchange = inFlight.get(related as number)
      if (exchange) {
        exchange.lastSign = clock.monotonic()
        exchange.push({ kind: "notification", method, params }, bytes)
      } else if (method === "notifications/message") drops.count("a log line of a call that is over")
    } else if (method === "notifications/message" && unsettled === 0) {
      onlyCall(false)?.push({ kind: "notification", method, params }, bytes)
    } else if (method === "notifications/cancelled") {
      // The upstream withdraws a question; whoever holds it looks at the id.
      for (const exchange of inFlight.values()) exchange.push({ kind: "notification", method, params })
    } else if (method.startsWith("notifications/subscriptions/")) {
      const meta = params["_meta"]
      const subscription = isJsonObject(meta) ? meta["io.modelcontextprotocol/subscriptionId"] : undefined
      inFlight.get(subscription as number)?.push({ kind: "notification", method, params }, bytes)
    }
    options.onNotice(method, params, connection)
  }

  function onRequest(id: RpcId, method: string, params: JsonObject, related: RpcId | undefined): void {
    if (era === "modern") return drops.count("a request, which this protocol revision forbids")
    if (method === "ping") return answer(id, { result: {} })
    if (!questionMethods.has(method)) {
      drops.count("a request of an unknown method")
      return answer(id, { error: { code: -32601, message: "Method not found" } })
    }
    if (related === undefined) asksAtLarge = true
    const exchange = related === undefined ? onlyCall(true) : inFlight.get(related as number)
    if (!exchange || exchange.options.purpose !== "call" || (related === undefined && unsettled > 0)) {
      drops.count(`a ${method} that belongs to no call`)
      return answer(id, { error: { code: -32601, message: "No call is under way that this could belong to" } })
    }
    exchange.lastSign = clock.monotonic()
    exchange.push({ kind: "question", id, method, params })
  }

  const receiver: Receiver = {
    message(message, related, bytes) {
      if (closed) return
      if (!isJsonObject(message)) return drops.count("a message that is no object")
      const { method, id } = message
      if (typeof method !== "string") return onResponse(message, related, bytes)
      const params = isJsonObject(message["params"]) ? message["params"] : {}
      if (id === undefined) onNotification(method, params, related, bytes)
      else if (typeof id === "string" || typeof id === "number") onRequest(id, method, params, related)
      else drops.count("a request without a proper id")
    },
    refuses(id, bytes) {
      const exchange = typeof id === "number" ? inFlight.get(id) : undefined
      if (exchange && bytes <= (exchange.options.limits?.maxResultBytes ?? Infinity)) return false
      onResponse({ id }, undefined, bytes)
      return true
    },
    ended(id, failure) {
      const exchange = inFlight.get(id as number)
      if (!exchange) return
      const silent = () => new ClarityError("unavailable", `${name} closed the exchange without an answer`)
      finish(exchange, { kind: "failed", failure: failure ?? { error: silent(), sent: true } })
    },
    alive(related) {
      const now = clock.monotonic()
      if (related !== undefined) {
        const exchange = inFlight.get(related as number)
        if (exchange) exchange.lastSign = now
      } else for (const exchange of inFlight.values()) exchange.lastSign = now
    },
    closed(failure) {
      if (!closed) shut(failure)
    },
  }

  function shut(failure: TransportFailure | undefined): void {
    closed = true
    idle.close()
    const error = failure?.error ?? new ClarityError("unavailable", `${name} closed the connection`)
    // What has not left yet is settled by its own `send`, which knows whether anything was sent.
    for (const exchange of inFlight.values())
      if (exchange.sent) finish(exchange, { kind: "failed", failure: { error, sent: true } })
    options.onClosed(failure, connection)
  }

  function fail(exchange: Exchange, thrown: unknown): void {
    if (inFlight.get(exchange.id) === exchange) finish(exchange, { kind: "failed", failure: asFailure(thrown, name) })
  }

  function request(
    method: string,
    params: JsonObject | ((id: number) => JsonObject),
    requestOptions: RequestOptions,
  ): Exchange {
    const id = inFlight.nextId()
    const exchange = new Exchange(id, method, requestOptions)
    if (closed) {
      const error = new ClarityError("unavailable", `${name} is not connected`)
      exchange.end({ kind: "failed", failure: { error, sent: false } })
      return exchange
    }
    inFlight.add(exchange)
    idle.begin(exchange)
    const { headers, limits } = requestOptions
    const message = { jsonrpc: "2.0", id, method, params: typeof params === "function" ? params(id) : params }
    void hand(exchange, message, { ...(headers ? { headers } : {}), ...(limits ? { limits } : {}) })
    return exchange
  }

  async function hand(exchange: Exchange, message: JsonObject, sendOptions: SendOptions): Promise<void> {
    try {
      await transport.send(message, sendOptions)
      exchange.sent = true
      if (closed) fail(exchange, new ClarityError("unavailable", `${name} closed the connection`))
    } catch (thrown) {
      fail(exchange, thrown)
    }
  }

  async function ask(method: string, params: JsonObject, askOptions: AskOptions): Promise<Ended> {
    const { signal, ...rest } = askOptions
    const exchange = request(method, params, { ...rest, purpose: "own", capacity: 16 })
    const abort = () => cancel(exchange, new ClarityError("cancelled", `${method} was given up`))
    if (signal.aborted) abort()
    signal.addEventListener("abort", abort, { once: true })
    try {
      for (;;) {
        const event = await exchange.next()
        if (event.kind === "question") answer(event.id, { error: { code: -32601, message: "Nobody to ask" } })
        else if (event.kind !== "notification") return event
      }
    } finally {
      signal.removeEventListener("abort", abort)
    }
  }

  function post(message: JsonObject): void {
    if (closed) return
    transport.send(message, {}).catch((thrown: unknown) => {
      log.write("runtime", `${name}: a message could not be sent: ${asFailure(thrown, name).error.message}`)
    })
  }

  function notify(method: string, params?: JsonObject): void {
    post(params ? { jsonrpc: "2.0", method, params } : { jsonrpc: "2.0", method })
  }

  function answer(id: RpcId, given: { readonly result: JsonObject } | { readonly error: RpcError }): void {
    post({ jsonrpc: "2.0", id, ...given })
  }

  function cancel(exchange: Exchange, error: ClarityError): void {
    if (inFlight.get(exchange.id) !== exchange) return
    inFlight.delete(exchange.id)
    exchange.end({ kind: "failed", failure: { error, sent: true } })
    const http = transport.binding === "http"
    if (!(http && era === "modern") && exchange.method !== "initialize")
      notify("notifications/cancelled", { requestId: exchange.id, reason: error.code })
    if (http) transport.abandon(exchange.id)
    if (http || exchange.options.purpose !== "call" || !era) return exchange.onSettled?.()
    void settle(exchange)
  }

  async function settle(exchange: Exchange): Promise<void> {
    unsettled++
    await barrier.pass()
    unsettled--
    exchange.onSettled?.()
  }

  const connection: Connection = {
    binding: transport.binding,
    transport,
    agree(agreed, request) {
      era = agreed
      proof = request
    },
    request,
    ask,
    notify,
    answer,
    cancel,
    get closed() {
      return closed
    },
    get calls() {
      let count = 0
      for (const exchange of inFlight.values()) if (exchange.options.purpose === "call") count++
      return count
    },
    get asksAtLarge() {
      return asksAtLarge
    },
    async [Symbol.asyncDispose]() {
      closed = true
      idle.close()
      const error = new ClarityError("unavailable", `${name} was closed`)
      for (const exchange of inFlight.values()) finish(exchange, { kind: "failed", failure: { error, sent: true } })
      await transport[Symbol.asyncDispose]()
    },
  }

  try {
    await transport.open(receiver, signal)
  } catch (thrown) {
    closed = true
    await transport[Symbol.asyncDispose]()
    throw thrown
  }
  return connection
}

/** Anything a transport threw, as a failure. What is not known counts as sent. */
export function asFailure(thrown: unknown, name: string): TransportFailure {
  if (thrown instanceof TransportError) return thrown.failure
  if (thrown instanceof ClarityError) return { error: thrown, sent: true }
  return { error: new ClarityError("internal", `${name}: the transport failed`, { cause: thrown }), sent: true }
}
