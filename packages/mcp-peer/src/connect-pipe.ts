import { ClarityError, type Clock } from "@clarity-runtime/contracts"
import type { Connection } from "./connection.ts"
import type { Ended, Exchange } from "./exchange.ts"
import { discoverParams, readDiscovery, type Face, type Link } from "./handshake.ts"

/** What connecting over a pipe needs from its owner. */
export interface PipeSteps {
  readonly name: string
  readonly clock: Clock
  /** Take nothing but a modern server. */
  readonly onlyModern: boolean
  /** Ask first; otherwise the server is known to be legacy. */
  readonly probe: boolean
  open(signal: AbortSignal): Promise<Connection>
  initialize(connection: Connection, signal: AbortSignal): Promise<Link>
  agree(connection: Connection, face: Face): Link
  /** What to throw when the server is legacy and must not be. */
  refusal(): ClarityError
}

const silenceMs = 3000
const patience = { idleMs: 60_000, totalMs: 60_000, maxResultBytes: 4 * 1024 * 1024 }

/**
 * Finds out the era over one connection. An error, silence or the server's leaving means legacy; one that left is
 * dialled again. Throws ClarityError; nothing is left open then.
 */
export async function connectPipe(first: Connection, steps: PipeSteps, signal: AbortSignal): Promise<Link> {
  if (!steps.probe) return guarded(first, () => steps.initialize(first, signal))
  const found = await guarded(first, () => probe(first, steps, signal))
  if (found) return found
  if (!first.closed) return guarded(first, () => steps.initialize(first, signal))
  await first[Symbol.asyncDispose]()
  const second = await steps.open(signal)
  return guarded(second, () => steps.initialize(second, signal))
}

/** The link, or undefined when a legacy handshake is to be tried. */
async function probe(connection: Connection, steps: PipeSteps, signal: AbortSignal): Promise<Link | undefined> {
  const { name, clock, onlyModern } = steps
  const givenUp = () => new ClarityError("cancelled", `connecting to ${name} was given up`)
  const exchange = connection.request("server/discover", discoverParams, {
    purpose: "own",
    capacity: 16,
    limits: patience,
  })
  const timer = new AbortController()
  const stop = () => {
    timer.abort()
    connection.cancel(exchange, givenUp())
  }
  if (signal.aborted) stop()
  signal.addEventListener("abort", stop, { once: true })
  try {
    const answer = endOf(exchange)
    const early = await Promise.race([answer, clock.sleep(silenceMs, timer.signal).then(() => undefined)])
    if (signal.aborted) throw givenUp()
    let link: Link | undefined
    if (!early && !onlyModern) {
      // Slow, or silent for ever: both questions wait at its door, and the handshake's answer decides.
      try {
        link = await steps.initialize(connection, signal)
        connection.cancel(exchange, givenUp())
        return link
      } catch (thrown) {
        if (!exchange.over || connection.closed) throw thrown
      }
    }
    const found = readDiscovery(early ?? (await answer), name, "pipe")
    if (signal.aborted) throw givenUp()
    if (found.kind === "modern") return steps.agree(connection, found.face)
    if (onlyModern || !early) throw steps.refusal()
    return undefined
  } finally {
    signal.removeEventListener("abort", stop)
    timer.abort()
  }
}

async function endOf(exchange: Exchange): Promise<Ended> {
  for (;;) {
    const event = await exchange.next()
    if (event.kind !== "notification" && event.kind !== "question") return event
  }
}

async function guarded<T>(connection: Connection, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    await connection[Symbol.asyncDispose]()
    throw thrown
  }
}
