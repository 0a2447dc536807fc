import { ClarityError, isJsonObject, type CallLimits, type Clock, type JsonObject } from "@clarity-runtime/contracts"
import { bridgeable } from "./capabilities.ts"
import type { Connection } from "./connection.ts"
import { ownParams } from "./envelope.ts"
import type { Ended, Exchange } from "./exchange.ts"
import type { Link } from "./handshake.ts"
import { modernHeaders } from "./modern-headers.ts"
import { askOver } from "./own-requests.ts"
import type { TransportFailure } from "./transport.ts"

/** What all watchers together want. */
export interface Wanted {
  readonly lists: boolean
  readonly resources: ReadonlySet<string>
}

/** Subscriptions standing at one link. `apply` makes them what is wanted and resolves to the resources the upstream accepted. */
export interface Subscribing {
  readonly connection: Connection
  /** Throws SubscribingFailed when it should be tried again. */
  apply(wanted: Wanted, signal: AbortSignal): Promise<ReadonlySet<string>>
  close(): void
}

/** The upstream did not answer; later it may. */
export class SubscribingFailed extends Error {
  override readonly name = "SubscribingFailed"
  readonly failure: TransportFailure
  constructor(failure: TransportFailure) {
    super(failure.error.message, { cause: failure.error })
    this.failure = failure
  }
}

const limits: CallLimits = { idleMs: 30_000, totalMs: 30_000, maxResultBytes: 1024 * 1024 }
const nobody = () => new ClarityError("cancelled", "nobody watches any more")

/** Legacy: lists announce themselves; resources are subscribed to one by one. */
export function subscribeLegacy(link: Link): Subscribing {
  const held = new Set<string>()
  const { resources } = link.capabilities
  const can = isJsonObject(resources) && resources["subscribe"] === true

  async function ask(method: string, uri: string, signal: AbortSignal): Promise<boolean> {
    const ended = await askOver(link, method, { uri }, signal, limits)
    if (ended.kind === "failed" && !ended.failure.rpc) throw new SubscribingFailed(ended.failure)
    return ended.kind === "result"
  }

  return {
    connection: link.connection,
    async apply(wanted, signal) {
      if (!can) return held
      for (const uri of wanted.resources)
        if (!held.has(uri) && (await ask("resources/subscribe", uri, signal))) held.add(uri)
      for (const uri of held)
        if (!wanted.resources.has(uri)) {
          held.delete(uri)
          await ask("resources/unsubscribe", uri, signal)
        }
      return held
    },
    close() {},
  }
}

/** Modern: one stream for everything, opened anew before the old one is closed so that nothing falls between. */
export function subscribeModern(link: Link, clock: Clock, onEnd: (ended: Ended) => void): Subscribing {
  const { connection, version, capabilities } = link
  let stream: Exchange | undefined
  let accepted: ReadonlySet<string> = new Set()

  function filterFor(wanted: Wanted): JsonObject | undefined {
    const filter: JsonObject = {}
    if (wanted.lists)
      for (const kind of ["tools", "prompts", "resources"]) {
        const declared = capabilities[kind]
        if (isJsonObject(declared) && declared["listChanged"] === true) filter[`${kind}ListChanged`] = true
      }
    const { resources } = capabilities
    if (wanted.resources.size > 0 && isJsonObject(resources) && resources["subscribe"] === true)
      filter["resourceSubscriptions"] = [...wanted.resources]
    return Object.keys(filter).length > 0 ? filter : undefined
  }

  async function follow(exchange: Exchange, acknowledged: (params: JsonObject | Ended) => void): Promise<void> {
    for (;;) {
      const event = await exchange.next()
      if (event.kind === "notification") {
        if (event.method === "notifications/subscriptions/acknowledged") acknowledged(event.params)
      } else if (event.kind !== "question") {
        acknowledged(event)
        if (stream === exchange) {
          stream = undefined
          onEnd(event)
        }
        return
      }
    }
  }

  return {
    connection,
    async apply(wanted, signal) {
      const before = stream
      const notifications = filterFor(wanted)
      if (!notifications) {
        stream = undefined
        if (before) connection.cancel(before, nobody())
        return (accepted = new Set())
      }
      const params = ownParams(version, bridgeable, { notifications })
      const headers =
        connection.binding === "http" ? modernHeaders("subscriptions/listen", {}, undefined, {}) : undefined
      const exchange = connection.request("subscriptions/listen", params, {
        purpose: "own",
        ...(headers ? { headers } : {}),
      })
      const acknowledged = Promise.withResolvers<JsonObject | Ended | undefined>()
      const timer = new AbortController()
      const stop = () => acknowledged.resolve(undefined)
      signal.addEventListener("abort", stop, { once: true })
      void clock.sleep(limits.idleMs, timer.signal).then(stop)
      void follow(exchange, acknowledged.resolve)
      const answer = await acknowledged.promise
      signal.removeEventListener("abort", stop)
      timer.abort()
      if (signal.aborted) {
        connection.cancel(exchange, nobody())
        return accepted
      }
      const ended = asEnded(answer)
      if (ended?.kind === "failed" && !ended.failure.rpc) throw new SubscribingFailed(ended.failure)
      stream = ended ? undefined : exchange
      if (before) connection.cancel(before, nobody())
      return (accepted = ended ? new Set() : acceptedOf(answer as JsonObject | undefined))
    },
    close() {
      const open = stream
      stream = undefined
      if (open) connection.cancel(open, nobody())
    },
  }
}

function asEnded(answer: JsonObject | Ended | undefined): Ended | undefined {
  const kind = answer?.kind
  return kind === "result" || kind === "error" || kind === "failed" ? (answer as Ended) : undefined
}

function acceptedOf(params: JsonObject | undefined): ReadonlySet<string> {
  const { notifications } = params ?? {}
  const listed = isJsonObject(notifications) ? notifications["resourceSubscriptions"] : undefined
  return new Set(Array.isArray(listed) ? (listed as unknown[]).filter((uri) => typeof uri === "string") : [])
}
