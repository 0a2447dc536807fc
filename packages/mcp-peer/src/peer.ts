import {
  ClarityError,
  type Backend,
  type CallLimits,
  type Clock,
  type ProtocolVerdict,
  type ServiceDefinition,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import { callUpstream, type Retries } from "./call.ts"
import { connectUpstream, type Upstream } from "./connect.ts"
import { describeUpstream, refreshTools, toldOnce } from "./describe.ts"
import { writeLine } from "./log-levels.ts"
import { askUpstream } from "./own-requests.ts"
import { createParking } from "./parking.ts"
import { createToolBook } from "./tool-book.ts"
import type { Transport } from "./transport.ts"
import { withCause } from "./upstream-errors.ts"
import { createWatching } from "./watch.ts"

export interface PeerOptions {
  readonly service: ServiceDefinition
  /** Makes an unopened transport: once for the first connection, again for every reconnection, era or capability set that needs its own. */
  readonly dial: () => Transport
  readonly clock: Clock
  readonly log: ServiceLog
  readonly remembered?: ProtocolVerdict
  /** Beyond the one repetition of what a broken connection lost; absent: none. */
  readonly retries?: Retries | undefined
}

const noRetries: Retries = { max: 0, backoffMs: 150 }

const probeLimits: CallLimits = { idleMs: 30_000, totalMs: 30_000, maxResultBytes: 1024 * 1024 }

/** Connects, finds out the era, does the handshake, and presents the upstream as a backend. Throws ClarityError. */
export async function createPeer(options: PeerOptions, signal: AbortSignal): Promise<Backend> {
  const { service, dial, clock, log, remembered, retries = noRetries } = options
  const name = service.namespace
  let upstream: Upstream | undefined
  const theUpstream = () => {
    if (!upstream) throw new ClarityError("unavailable", `${name} is not connected`)
    return upstream
  }
  const watching = createWatching(name, theUpstream, clock, log)
  const parking = createParking(clock)

  upstream = await connectUpstream(
    {
      name,
      era: service.manifest.spec.era,
      dial,
      clock,
      log,
      remembered,
      onNotice(method, params) {
        if (method === "notifications/message") writeLine(log, params)
        else watching.notice(method, params)
      },
      onGone: (failure) => watching.gone(failure?.error.message ?? `${name} closed the connection`),
      onLost: (connection) => watching.lost(connection),
    },
    signal,
  )
  const tools = createToolBook(clock, (signal) => refreshTools(name, theUpstream(), tools, signal))
  const tell = toldOnce(log)
  const calling = { upstream, parking, tools, clock, retries }
  const { binding } = upstream
  if (upstream.gone) watching.gone(`${name} closed the connection`)
  let disposed: Promise<void> | undefined

  return {
    describe: (signal) => describeUpstream(name, theUpstream(), tools, tell, signal),
    call: (request, context) => callUpstream(calling, request, context),
    watch: (interest, signal) => watching.watch(interest, signal),
    parks: (state) => parking.holds(state),
    unpark: (state) => parking.drop(state, new ClarityError("cancelled", "the caller gave up")),
    async probe(signal) {
      const link = await theUpstream().control(signal)
      const method = link.era === "legacy" ? "ping" : "server/discover"
      const ended = await askUpstream(theUpstream(), method, {}, signal, probeLimits)
      if (ended.kind === "failed" && !ended.failure.rpc) throw withCause(ended.failure)
      // On a pipe any answer is a sign of life; a remote's error may come from something in between.
      if (ended.kind === "error" && binding === "http" && link.era === "modern")
        throw new ClarityError("upstream_invalid", `${name} answered a probe with error ${ended.rpc.code}`)
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        watching.gone(`${name} was closed`)
        await parking[Symbol.asyncDispose]()
        await theUpstream()[Symbol.asyncDispose]()
      })()
      return disposed
    },
  }
}
