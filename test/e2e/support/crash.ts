import { readFileSync } from "node:fs"
import { join } from "node:path"
import { manifest, startDaemon, wasm, type Daemon } from "./daemon.ts"

export interface CrashOptions {
  readonly workspace: string
  readonly rounds: number
  /** Decides when each kill comes; the same seed gives the same moments, as far as a machine can. */
  readonly seed: number
  readonly writers?: number
  report?(line: string): void
}

export interface CrashReport {
  readonly rounds: number
  readonly acknowledged: number
  /** What was acknowledged and is not there, or is there and was never asked for; empty is the promise kept. */
  readonly violations: readonly string[]
}

/** What one service is known to be: the version last acknowledged, and the one asked for when the daemon died. */
interface Known {
  acknowledged: string | undefined
  asked: { version: string | undefined } | undefined
}

/**
 * Kills a daemon with SIGKILL while several writers register, change and remove services, again and again in one
 * workspace, and holds what the next daemon knows against what was acknowledged.
 */
export async function crashRounds(options: CrashOptions): Promise<CrashReport> {
  const { workspace, rounds, writers = 6, report = () => {} } = options
  const random = generator(options.seed)
  const known = new Map<string, Known>()
  const violations: string[] = []
  let acknowledged = 0
  let version = 0

  async function write(daemon: Daemon, name: string, heard: () => void): Promise<void> {
    const state = known.get(name) ?? { acknowledged: undefined, asked: undefined }
    known.set(name, state)
    for (;;) {
      const next = state.acknowledged !== undefined && random() < 0.2 ? undefined : `v${++version}`
      state.asked = { version: next }
      try {
        if (next === undefined) await daemon.client.removeService({ id: idOf(await services(daemon), name) })
        else await daemon.client.applyManifest({ manifest: described(name, next) })
      } catch {
        return // the daemon was killed under it
      }
      state.acknowledged = next
      state.asked = undefined
      acknowledged += 1
      heard()
    }
  }

  async function check(daemon: Daemon): Promise<void> {
    const found = new Map((await services(daemon)).map((service) => [service.module, service.displayName ?? undefined]))
    for (const [name, state] of known) {
      const actual = found.get(name)
      found.delete(name)
      const fine = actual === state.acknowledged || (state.asked !== undefined && actual === state.asked.version)
      if (!fine) violations.push(`${name} is ${actual}, acknowledged was ${state.acknowledged}`)
      state.acknowledged = actual
      state.asked = undefined
    }
    for (const name of found.keys()) violations.push(`${name} was never asked for`)
  }

  for (let round = 1; round <= rounds; round++) {
    const daemon = await startDaemon({ workspace })
    await check(daemon)
    const killAfter = 1 + Math.floor(random() * 40)
    let heard = 0
    const enough = Promise.withResolvers<void>()
    const writing = Array.from({ length: writers }, (_, writer) =>
      write(daemon, `crash_${writer}`, () => ++heard >= killAfter && enough.resolve()),
    )
    await enough.promise
    await daemon.stop("SIGKILL")
    await Promise.all(writing)
    const problem = unreadable(join(workspace, ".clarity", "runtime", "registry.json"))
    if (problem !== undefined) violations.push(`round ${round}: registry.json does not parse: ${problem}`)
    report(`round ${round}: killed after ${heard} acknowledgements, ${violations.length} violations`)
  }
  const last = await startDaemon({ workspace })
  await check(last)
  await last.stop()
  return { rounds, acknowledged, violations }
}

async function services(daemon: Daemon) {
  return (await daemon.client.listServices({ limit: 2000 })).items
}

function idOf(items: Awaited<ReturnType<typeof services>>, name: string): string {
  return items.find(({ module }) => module === name)?.serviceId ?? "svc_none"
}

function described(name: string, displayName: string): Record<string, unknown> {
  const plain = manifest(name, wasm(`/nowhere/${name}.wasm`), { enabled: false })
  return { ...plain, metadata: { ...plain.metadata, displayName } }
}

function unreadable(path: string): string | undefined {
  try {
    JSON.parse(readFileSync(path, "utf8"))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Numbers in [0, 1) from a seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
