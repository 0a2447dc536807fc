import {
  ClarityError,
  modernVersions,
  type ClientCapabilities,
  type ClientProfile,
  type Clock,
  type Era,
  type JsonObject,
  type ProtocolVerdict,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import { bridgeable } from "./capabilities.ts"
import { openConnection, type Connection } from "./connection.ts"
import {
  discoverHeaders,
  discoverParams,
  discoverRequest,
  initialize,
  modernVersion,
  readDiscovery,
  type Discovery,
  type Face,
  type Link,
} from "./handshake.ts"
import { createSessionPool, type SessionPool } from "./session-pool.ts"
import { failureOf, type Transport, type TransportFailure } from "./transport.ts"
import { createTurns } from "./turns.ts"

/** The upstream behind a peer: which eras it speaks, and a link for whoever needs one. */
export interface Upstream extends AsyncDisposable {
  readonly binding: Transport["binding"]
  /** For a client's call. Throws ClarityError. */
  link(client: ClientProfile, signal: AbortSignal): Link | Promise<Link>
  /** For the peer's own business: describing, watching, pinging. Throws ClarityError. */
  control(signal: AbortSignal): Link | Promise<Link>
  /** That legacy session is no more; the next who asks gets a new one. */
  lost(link: Link): void
  /** The verdict on the eras turned out wrong: finds out anew. Throws ClarityError. */
  reprobe(signal: AbortSignal): Promise<void>
  readonly verdict: ProtocolVerdict
  /** The upstream was seen to ask without saying for which call: askable calls then take turns. */
  readonly asksAtLarge: boolean
  /** The pipe is closed, for good. */
  readonly gone: boolean
}

export interface UpstreamOptions {
  readonly name: string
  readonly era: "match" | "auto" | "legacy" | "modern"
  readonly dial: () => Transport
  readonly clock: Clock
  readonly log: ServiceLog
  readonly remembered: ProtocolVerdict | undefined
  readonly onNotice: (method: string, params: JsonObject, connection: Connection) => void
  /** The one pipe is gone. */
  readonly onGone: (failure: TransportFailure | undefined) => void
  /** A legacy session ended, whoever noticed. */
  readonly onLost: (connection: Connection) => void
}

const day = 24 * 60 * 60 * 1000
const pipeSilenceMs = 3000
const httpSilenceMs = 10_000

/** Connects and finds out the era. Throws ClarityError; nothing is left open then. */
export async function connectUpstream(options: UpstreamOptions, signal: AbortSignal): Promise<Upstream> {
  const { name, era, clock, log, remembered } = options
  const life = new AbortController()
  let binding: Transport["binding"] = "http"
  let modern: Link | undefined
  /** On a pipe there is one link, whatever its era. */
  let pipe: Link | undefined
  let legacyVersion: string | undefined
  let legacy: "unknown" | "yes" | "no" = "unknown"
  let checkedAt = clock.now()
  let gone = false
  let asksAtLarge = false
  let probing: Promise<void> | undefined

  const pool: SessionPool = createSessionPool(name, openSession)

  function open(signal: AbortSignal): Promise<Connection> {
    return openConnection(
      {
        name,
        dial: options.dial,
        clock,
        log,
        onNotice: options.onNotice,
        onClosed(failure, connection) {
          asksAtLarge ||= connection.asksAtLarge
          if (connection === pipe?.connection) {
            gone = true
            options.onGone(failure)
          } else options.onLost(connection)
        },
      },
      signal,
    )
  }

  async function openSession(capabilities: ClientCapabilities, signal: AbortSignal): Promise<Link> {
    const connection = await open(signal)
    try {
      return await handshake(connection, capabilities, signal)
    } catch (thrown) {
      await connection[Symbol.asyncDispose]()
      throw thrown
    }
  }

  async function handshake(
    connection: Connection,
    capabilities: ClientCapabilities,
    signal: AbortSignal,
  ): Promise<Link> {
    const face = await initialize(connection, capabilities, name, signal)
    legacy = "yes"
    legacyVersion = face.version
    const asks = capabilities.elicitation ?? capabilities.sampling ?? capabilities.roots
    if (connection.binding === "http" && asks) listen(connection)
    return { era: "legacy", connection, turns: createTurns(name, clock), ...face }
  }

  /** The standing stream: change notices, and questions of servers that do not tie them to a call. */
  function listen(connection: Connection): void {
    connection.transport.listen?.(life.signal).catch((thrown: unknown) => {
      const why = failureOf(thrown)?.error.message ?? "the transport failed"
      if (!connection.closed) log.write("runtime", `${name}: no standing stream: ${why}`)
    })
  }

  function agreeModern(connection: Connection, face: Face): Link {
    connection.agree("modern", discoverRequest)
    return { era: "modern", connection, ...face }
  }

  async function discoverOver(connection: Connection, signal: AbortSignal): Promise<Discovery> {
    connection.transport.negotiated?.(modernVersion)
    const limits = { idleMs: httpSilenceMs, totalMs: httpSilenceMs, maxResultBytes: 4 * 1024 * 1024 }
    for (let attempt = 0; ; attempt++) {
      const ended = await connection.ask("server/discover", discoverParams, {
        signal,
        limits,
        headers: discoverHeaders,
      })
      if (signal.aborted) throw new ClarityError("cancelled", `connecting to ${name} was given up`)
      const discovery = readDiscovery(ended, name, connection.binding)
      if (discovery.kind !== "again" || attempt > 0) return discovery
    }
  }

  function take(link: Link, alsoLegacy: boolean): void {
    modern = link
    checkedAt = clock.now()
    if (alsoLegacy && legacy === "no") legacy = "unknown"
  }

  /** Over HTTP: modern if it answers discovery; true when it did. */
  async function tryModern(signal: AbortSignal, opened?: Connection): Promise<boolean> {
    const connection = opened ?? (await open(signal))
    try {
      const discovery = await discoverOver(connection, signal)
      if (discovery.kind === "modern") {
        const before = modern?.connection
        take(agreeModern(connection, discovery.face), discovery.alsoLegacy)
        if (before && before.calls === 0) void before[Symbol.asyncDispose]()
        return true
      }
    } catch (thrown) {
      await connection[Symbol.asyncDispose]()
      throw thrown
    }
    await connection[Symbol.asyncDispose]()
    modern = undefined
    checkedAt = clock.now()
    if (era === "modern") throw onlyLegacy()
    return false
  }

  function onlyLegacy(): ClarityError {
    return new ClarityError("version_unsupported", `${name} does not speak ${modernVersions.join(" or ")}`, {
      data: { service: name, hint: "set era: match or legacy" },
    })
  }

  /** The one connection of a pipe. A server that leaves over the probe is dialled again. */
  async function connectPipe(first: Connection, signal: AbortSignal, probe: boolean): Promise<void> {
    let connection = first
    try {
      if (probe) {
        const exchange = connection.request("server/discover", discoverParams, { purpose: "own", capacity: 16 })
        const answer = (async () => {
          for (;;) {
            const event = await exchange.next()
            if (event.kind !== "notification" && event.kind !== "question") return event
          }
        })()
        const timer = new AbortController()
        const stop = () => timer.abort()
        signal.addEventListener("abort", stop, { once: true })
        const early = await Promise.race([answer, clock.sleep(pipeSilenceMs, timer.signal).then(() => undefined)])
        signal.removeEventListener("abort", stop)
        timer.abort()
        if (signal.aborted) throw new ClarityError("cancelled", `connecting to ${name} was given up`)
        const found = early && readDiscovery(early, name, "pipe")
        if (found?.kind === "modern") return settlePipe(agreeModern(connection, found.face), found.alsoLegacy)
        if (era === "modern" && early) throw onlyLegacy()
        if (!early) {
          // Slow, or silent for ever: both questions wait at its door, and the handshake's answer decides.
          try {
            if (era !== "modern") {
              const link = await handshake(connection, bridgeable, signal)
              connection.cancel(exchange, new ClarityError("cancelled", "answered otherwise"))
              return settlePipe(link, false)
            }
          } catch (thrown) {
            if (!exchange.over) throw thrown
          }
          const late = readDiscovery(await answer, name, "pipe")
          if (late.kind !== "modern") throw onlyLegacy()
          return settlePipe(agreeModern(connection, late.face), late.alsoLegacy)
        }
        if (connection.closed) {
          await connection[Symbol.asyncDispose]()
          connection = await open(signal)
        }
      }
      settlePipe(await handshake(connection, bridgeable, signal), false)
    } catch (thrown) {
      await connection[Symbol.asyncDispose]()
      throw thrown
    }
  }

  function settlePipe(link: Link, alsoLegacy: boolean): void {
    pipe = link
    if (link.era === "modern") take(link, alsoLegacy)
    else checkedAt = clock.now()
    if (link.connection.closed) gone = true
  }

  async function connect(): Promise<void> {
    const fresh = remembered && clock.now() - remembered.checkedAt < day ? remembered : undefined
    const onlyLegacyKnown = era === "legacy" || (era !== "modern" && fresh?.eras.every((known) => known === "legacy"))
    const first = await open(signal)
    binding = first.binding
    if (binding === "pipe") {
      try {
        return await connectPipe(first, signal, !onlyLegacyKnown)
      } catch (thrown) {
        if (!onlyLegacyKnown || era === "legacy" || signal.aborted) throw thrown
        // What was remembered is wrong: the server changed.
        return connectPipe(await open(signal), signal, true)
      }
    }
    if (fresh?.eras.includes("legacy")) legacy = "yes"
    if (onlyLegacyKnown) {
      await first[Symbol.asyncDispose]()
      try {
        const link = await pool.get(bridgeable, signal)
        legacyVersion = link.version
        if (fresh && era !== "legacy") checkedAt = fresh.checkedAt
        return
      } catch (thrown) {
        if (era === "legacy" || unreachable(thrown) || signal.aborted) throw thrown
        legacy = "no"
      }
    }
    if (!(await tryModern(signal, onlyLegacyKnown ? undefined : first))) await pool.get(bridgeable, signal)
  }

  /** Verdicts on a remote server are believed for a day. */
  function stale(): boolean {
    return binding === "http" && era !== "legacy" && !modern && clock.now() - checkedAt >= day
  }

  async function legacyOrModern(client: ClientProfile, signal: AbortSignal, fallback: Link): Promise<Link> {
    try {
      return await pool.get(client.capabilities, signal)
    } catch (thrown) {
      if (signal.aborted) throw thrown
      if (!unreachable(thrown)) legacy = "no"
      return fallback
    }
  }

  async function again(signal: AbortSignal): Promise<Link> {
    if (await tryModern(signal)) return modern as Link
    return pool.get(bridgeable, signal)
  }

  const upstream: Upstream = {
    get binding() {
      return binding
    },
    link(client, signal) {
      if (pipe) return pipe
      if (!modern) return pool.get(client.capabilities, signal)
      if (modern.connection.closed) return again(signal)
      if (era !== "match" || client.era === "modern" || legacy === "no") return modern
      return legacyOrModern(client, signal, modern)
    },
    control(signal) {
      if (pipe) return pipe
      if (stale() || modern?.connection.closed) return again(signal)
      return modern ?? pool.get(bridgeable, signal)
    },
    lost(link) {
      asksAtLarge ||= link.connection.asksAtLarge
      if (link !== pipe && link !== modern) pool.drop(link)
      options.onLost(link.connection)
    },
    async reprobe(signal) {
      if (binding === "pipe" || era === "legacy") return
      probing ??= (async () => {
        if (!(await tryModern(signal))) await pool.get(bridgeable, signal)
      })().finally(() => (probing = undefined))
      await probing
    },
    get verdict() {
      const eras: Era[] = []
      if (modern) eras.push("modern")
      if (legacy === "yes") eras.push("legacy")
      return { eras, version: modern?.version ?? legacyVersion ?? "", checkedAt }
    },
    get asksAtLarge() {
      return asksAtLarge
    },
    get gone() {
      return gone
    },
    async [Symbol.asyncDispose]() {
      life.abort()
      const open = new Set([modern?.connection, pipe?.connection])
      await Promise.all([pool[Symbol.asyncDispose](), ...[...open].map((one) => one?.[Symbol.asyncDispose]())])
    },
  }

  try {
    await connect()
    return upstream
  } catch (thrown) {
    await upstream[Symbol.asyncDispose]()
    const failure = failureOf(thrown)
    if (thrown instanceof ClarityError || !failure) throw thrown
    throw new ClarityError(failure.error.code, failure.error.message, { data: failure.error.data, cause: thrown })
  }
}

/** Nobody there, or not now: says nothing about what the upstream speaks. */
function unreachable(thrown: unknown): boolean {
  const failure = failureOf(thrown)
  if (failure) return failure.status === undefined || failure.status >= 500 || failure.status === 429
  return (
    thrown instanceof ClarityError &&
    ["unavailable", "cancelled", "rate_limited", "upstream_timeout"].includes(thrown.code)
  )
}
