import { readFileSync } from "node:fs"
import { join } from "node:path"
import { manifest, startDaemon, wasm, type Daemon } from "./daemon.ts"
import { createOracle, generator } from "./oracle.ts"

export interface CrashOptions {
  readonly workspace: string
  readonly rounds: number
  /** Decides when each kill comes; the same seed gives the same moments, as far as a machine can. */
  readonly seed: number
  readonly writers?: number
  readonly env?: Record<string, string>
  report?(line: string): void
}

export interface CrashReport {
  readonly rounds: number
  readonly acknowledged: number
  /** What was acknowledged and is not there, or is there and was never asked for; empty is the promise kept. */
  readonly lost: readonly string[]
  readonly unreadable: readonly string[]
}

/**
 * Kills a daemon with SIGKILL while several writers register, change, enable, disable and remove services, again and
 * again in one workspace, and holds what the next daemon knows against what was acknowledged.
 */
export async function crashRounds(options: CrashOptions): Promise<CrashReport> {
  const { workspace, rounds, writers = 4, report = () => {}, env = {} } = options
  const random = generator(options.seed)
  const oracle = createOracle()
  const lost: string[] = []
  const unreadable: string[] = []
  let version = 0

  async function write(daemon: Daemon, name: string, heard: () => void): Promise<void> {
    let id: string | undefined
    for (;;) {
      const there = oracle.last(name) !== undefined
      const next = there && random() < 0.2 ? undefined : `v${++version} ${random() < 0.5 ? "enabled" : "disabled"}`
      oracle.ask(name, next)
      try {
        if (next !== undefined)
          id = (await daemon.client.applyManifest({ manifest: described(name, next) })).service.serviceId
        else await daemon.client.removeService({ id: id ?? (await idOf(daemon, name)) })
      } catch {
        return // the daemon was killed under it
      }
      oracle.acknowledge(name, next)
      heard()
    }
  }

  const start = async (round: number): Promise<Daemon> => {
    const daemon = await startDaemon({ workspace, env })
    const found = await valuesOf(daemon)
    lost.push(...oracle.check(found).map((each) => `round ${round}: ${each}`))
    const { notices = [] } = await daemon.client.status({})
    unreadable.push(...notices.map((notice) => `round ${round}: ${notice}`))
    return daemon
  }

  for (let round = 1; round <= rounds; round++) {
    const daemon = await start(round)
    const killAfter = 1 + Math.floor(random() * 40)
    let heard = 0
    const enough = Promise.withResolvers<void>()
    const writing = Array.from({ length: writers }, (_, writer) =>
      write(daemon, `crash_${writer}`, () => ++heard >= killAfter && enough.resolve()),
    )
    // A writer ends when the daemon does not take its change: then there is nothing more to wait for.
    await Promise.race([enough.promise, Promise.all(writing)])
    if (heard < killAfter) lost.push(`round ${round}: the daemon stopped taking changes`)
    await daemon.stop("SIGKILL")
    await Promise.all(writing)
    const problem = parseProblem(join(workspace, ".clarity", "runtime", "registry.json"))
    if (problem !== undefined) unreadable.push(`round ${round}: registry.json does not parse: ${problem}`)
    report(`round ${round}: killed after ${heard} acknowledgements`)
  }
  await (await start(rounds + 1)).stop()
  return { rounds, acknowledged: oracle.acknowledged, lost, unreadable }
}

async function services(daemon: Daemon) {
  return (await daemon.client.listServices({ limit: 2000 })).items
}

async function idOf(daemon: Daemon, name: string): Promise<string> {
  return (await services(daemon)).find(({ module }) => module === name)?.serviceId ?? "svc_none"
}

/** What a client is told of every service: its display name, which says whether it is enabled, and whether that is so. */
async function valuesOf(daemon: Daemon): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const { serviceId, module, displayName } of await services(daemon)) {
    const { enabled } = (await daemon.client.getService({ id: serviceId })).service.runtime
    const agree = displayName?.endsWith(enabled ? " enabled" : " disabled") === true
    found.set(module, agree ? displayName : `${displayName}, and yet enabled is ${enabled}`)
  }
  return found
}

function described(name: string, displayName: string): Record<string, unknown> {
  const enabled = displayName.endsWith(" enabled")
  const plain = manifest(name, wasm(`/nowhere/${name}.wasm`), { enabled, autostart: false })
  return { ...plain, metadata: { ...plain.metadata, displayName } }
}

function parseProblem(path: string): string | undefined {
  try {
    JSON.parse(readFileSync(path, "utf8"))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
