import { tmpdir, totalmem } from "node:os"
import {
  abortError,
  ClarityError,
  systemClock,
  type Backend,
  type BackendFactory,
  type BackendServices,
  type Clock,
} from "@clarity-runtime/contracts"
import { createPeer, TransportError } from "@clarity-runtime/mcp-peer"
import { checkDeclaredNames, type Environment } from "./environment.ts"
import { createLauncher, stopping, type Launched } from "./launcher.ts"
import type { ProcessUsage } from "./memory.ts"
import { checkStartable } from "./start-failure.ts"
import { createStdioTransport } from "./stdio-transport.ts"
import { declaredDirectory, type StdioService } from "./working-directory.ts"

export interface StdioBackendsOptions {
  /**
   * Where process records (`processes/`) and private working directories (`work/`) are kept. Absent: a directory of
   * its own below the system's temporary one, removed at the end, and no reaping at the next start.
   */
  readonly stateDir?: string
  /** What children may inherit from; only six names of it are taken (HOME, LOGNAME, PATH, SHELL, TERM, USER). Default: the process's own. */
  readonly environment?: Environment
  /** The most memory all children may use together. Default: half of the machine's (or the container's). */
  readonly memoryBudgetMb?: number
  /** Milliseconds a process has from its start to its first valid answer. Default 30,000. */
  readonly startTimeoutMs?: number
  readonly clock?: Clock
}

export interface StdioBackends extends BackendFactory<"local_stdio">, AsyncDisposable {
  /** What all living children use together; at most a few seconds old. */
  usage(): ProcessUsage
}

/**
 * Runs commands as stdio MCP servers. Disposing it stops every process it has started. Nothing it starts outlives the
 * daemon, not even when that is killed with SIGKILL: a guard process ends what is left (not on Windows, where only
 * the end of their input tells the children), and `reapLeftovers` at the next start finds what even that has missed.
 */
export function stdioBackends(options: StdioBackendsOptions = {}): StdioBackends {
  const { stateDir, environment = process.env, startTimeoutMs = 30_000, clock = systemClock } = options
  const budgetBytes = options.memoryBudgetMb === undefined ? halfOfMemory() : options.memoryBudgetMb * 1_048_576
  const launcher = createLauncher({ stateDir, environment, budgetBytes, clock })
  const opening = new Set<Promise<unknown>>()
  let disposed = false

  async function open(service: StdioService, services: BackendServices, signal: AbortSignal): Promise<Backend> {
    if (disposed) throw stopping(service.namespace)
    if (signal.aborted) throw abortError(signal)
    const running = new Set<Launched>()
    let failure: ClarityError | undefined
    const dial = () => {
      failure = undefined
      return createStdioTransport({
        service: service.namespace,
        start: async () => {
          const launched = await launcher.launch(service, services, (ended) => running.delete(ended))
          running.add(launched)
          return launched
        },
        clock: services.clock,
        log: services.log,
        startTimeoutMs,
        failed: (error) => (failure = error),
      })
    }
    try {
      const { clock: time, log, remembered } = services
      return backendOf(
        await createPeer({ service, dial, clock: time, log, ...(remembered && { remembered }) }, signal),
        running,
      )
    } catch (error) {
      await Promise.all([...running].map((launched) => launched.stop("now")))
      if (signal.aborted) throw abortError(signal)
      throw better(error, failure)
    }
  }

  return {
    type: "local_stdio",
    async open(service, services, signal) {
      const work = open(service, services, signal)
      opening.add(work)
      try {
        return await work
      } finally {
        opening.delete(work)
      }
    },
    async inspect(service) {
      const { origin } = service.manifest.spec
      if (origin.type !== "local_stdio") throw new ClarityError("invalid_manifest", "this is no local_stdio service")
      checkDeclaredNames(origin.env ?? [], service.namespace)
      const { command } = origin
      const declared = declaredDirectory(service as StdioService)
      await checkStartable({
        service: service.namespace,
        command,
        cwd: declared ?? tmpdir(),
        cwdDeclared: declared !== undefined,
        path: environment["PATH"],
      })
    },
    usage: () => launcher.usage(),
    async [Symbol.asyncDispose]() {
      disposed = true
      await launcher[Symbol.asyncDispose]()
      await Promise.allSettled(opening)
    },
  }
}

/** The peer's backend, with the life and the weight of its processes added. */
function backendOf(peer: Backend, running: ReadonlySet<Launched>): Backend {
  const vitals = () => {
    const [first] = running
    const weights = [...running].flatMap(({ weight }) => weight.rssBytes ?? [])
    return {
      ...(first && { pid: first.child.pid, startedAt: first.child.startedAt }),
      ...(weights.length > 0 && { rssBytes: weights.reduce((sum, bytes) => sum + bytes, 0) }),
    }
  }
  // The first look is taken now, so that the first who asks has an answer.
  vitals()
  const { watch, parks, unpark, probe } = peer
  return {
    describe: (signal) => peer.describe(signal),
    call: (request, context) => peer.call(request, context),
    ...(watch && { watch: watch.bind(peer) }),
    ...(parks && { parks: parks.bind(peer) }),
    ...(unpark && { unpark: unpark.bind(peer) }),
    ...(probe && { probe: probe.bind(peer) }),
    vitals: () => ({ ...peer.vitals?.(), ...vitals() }),
    async [Symbol.asyncDispose]() {
      try {
        await peer[Symbol.asyncDispose]()
      } finally {
        await Promise.all([...running].map((launched) => launched.stop("graceful")))
      }
    },
  }
}

/** What the process did says more than what the handshake made of its silence. */
function better(thrown: unknown, failure: ClarityError | undefined): unknown {
  const error = thrown instanceof TransportError ? thrown.failure.error : thrown
  const vague = !(error instanceof ClarityError) || ["unavailable", "internal", "upstream_timeout"].includes(error.code)
  return vague ? (failure ?? error) : error
}

function halfOfMemory(): number {
  const bound = process.constrainedMemory()
  return (bound > 0 && bound < totalmem() ? bound : totalmem()) / 2
}
