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
import { connectPipe } from "./connect-pipe.ts"
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
import { abortable, createSessionPool, type SessionPool } from "./session-pool.ts"
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
  const retired: Connection[] = []

  const pool: SessionPool = createSessionPool(name, openSession, (link) => options.onLost(link.connection))

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

  /** Over HTTP: asks whether it is modern, over the modern connection there is or a new one; true when it is. */
  async function tryModern(signal: AbortSignal, opened?: Connection): Promise<boolean> {
    const before = modern && !modern.connection.closed ? modern.connection : undefined
    const connection = opened ?? before ?? (await open(signal))
    let discovery: Discovery
    try {
      discovery = await discoverOver(connection, signal)
    } catch (thrown) {
      if (connection !== before) await connection[Symbol.asyncDispose]()
      throw thrown
    }
    checkedAt = clock.now()
    if (discovery.kind === "modern") {
      modern = agreeModern(connection, discovery.face)
      if (discovery.alsoLegacy && legacy === "no") legacy = "unknown"
      return true
    }
    modern = undefined
    // Calls under way there may still be answered.
    if (connection === before && before.calls > 0) retired.push(before)
    else await connection[Symbol.asyncDispose]()
    if (era === "modern") throw onlyLegacy()
    return false
  }

  function onlyLegacy(): ClarityError {
    return new ClarityError("version_unsupported", `${name} does not speak ${modernVersions.join(" or ")}`, {
      data: { service: name, hint: "set era: match or legacy" },
    })
  }

  async function overPipe(first: Connection, signal: AbortSignal, probe: boolean): Promise<void> {
    const link = await connectPipe(
      first,
      {
        name,
        clock,
        onlyModern: era === "modern",
        probe,
        open,
        initialize: (connection, signal) => handshake(connection, bridgeable, signal),
        agree: agreeModern,
        refusal: onlyLegacy,
      },
      signal,
    )
    pipe = link
    if (link.era === "modern") modern = link
    if (link.connection.closed) gone = true
  }

  async function connect(): Promise<void> {
    const fresh = remembered && clock.now() - remembered.checkedAt < day ? remembered : undefined
    const onlyLegacyKnown = era === "legacy" || (era !== "modern" && fresh?.eras.every((known) => known === "legacy"))
    const first = await open(signal)
    binding = first.binding
    if (binding === "pipe") {
      try {
        return await overPipe(first, signal, !onlyLegacyKnown)
      } catch (thrown) {
        if (!onlyLegacyKnown || era === "legacy" || signal.aborted) throw thrown
        // What was remembered is wrong: the server changed.
        return overPipe(await open(signal), signal, true)
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

  /** One probe for all who need it; each waits as long as its own signal allows. */
  function probeAnew(signal: AbortSignal): Promise<void> {
    probing ??= (async () => {
      try {
        if (!(await tryModern(life.signal))) await pool.get(bridgeable, life.signal)
      } finally {
        probing = undefined
      }
    })()
    return abortable(probing, signal)
  }

  async function again(signal: AbortSignal): Promise<Link> {
    await probeAnew(signal)
    return modern ?? pool.get(bridgeable, signal)
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
    },
    async reprobe(signal) {
      if (binding === "pipe" || era === "legacy") return
      await probeAnew(signal)
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
      const open = new Set([modern?.connection, pipe?.connection, ...retired])
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
