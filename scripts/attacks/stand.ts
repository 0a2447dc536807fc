import { readFileSync } from "node:fs"
import {
  cleanUp,
  manifest,
  remote,
  startDaemon,
  temporaryDirectory,
  type Daemon,
  type DaemonOptions,
} from "../../test/e2e/support/daemon.ts"
import { alive } from "../../test/e2e/support/process.ts"
import { serveRecorder, type Recorder } from "./recorder.ts"

/** A daemon that stays for the whole run, with one service that counts what reaches it. */
export interface Post {
  readonly daemon: Daemon
  readonly recorder: Recorder
  readonly port: number
  /** Resident memory in MB once it was warm; undefined where the system does not tell. */
  readonly restingMb: number | undefined
}

/** Everything the attacks are tried on. */
export interface Stand extends AsyncDisposable {
  /** Without a token, with provisioning on: the most that may be attacked. */
  open(): Promise<Post>
  guarded(): Promise<Post>
  /** A daemon of the case's own; stopped when the case is over. */
  fresh(options?: DaemonOptions): Promise<Daemon>
  /** A folder that is removed at the end. */
  folder(): string
  /** Disposed when the case is over. */
  own<T extends AsyncDisposable>(thing: T): T
  /** What is wrong with the daemons that must have lived through the case; then disposes what the case owned. */
  caseOver(): Promise<string[]>
  /** What is wrong with the daemons that stayed. Quick: after every input. */
  vitals(): Promise<string[]>
  /** Waits until the memory of the daemons that stayed is back; what is wrong where it is not. */
  settled(): Promise<string[]>
}

export const guardToken = "0f1e2d3c4b5a-CANARY-69788796a5b4"
const allowedGrowthMb = 50

export function createStand(): Stand {
  const posts = new Map<"open" | "guarded", Promise<Post>>()
  const pids = new Map<Daemon, number>()
  let owned: AsyncDisposable[] = []

  const post = (name: "open" | "guarded", options: DaemonOptions): Promise<Post> => {
    const known = posts.get(name) ?? startPost(options)
    posts.set(name, known)
    return known
  }
  async function startPost(options: DaemonOptions): Promise<Post> {
    const recorder = await serveRecorder()
    const daemon = await startDaemon(options)
    pids.set(daemon, daemon.program.pid)
    await daemon.register(manifest("canary", remote(recorder.url), { era: "legacy" }))
    const headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
    for (let round = 0; round < 200; round++) await (await fetch(`${daemon.url}/api/status`, { headers })).text()
    return { daemon, recorder, port: Number(new URL(daemon.url).port), restingMb: residentMb(daemon.program.pid) }
  }
  async function vitals(): Promise<string[]> {
    const wrong: string[] = []
    for (const one of posts.values()) {
      const { daemon } = await one
      wrong.push(...(await vitalsOf(daemon)))
    }
    return wrong
  }

  return {
    open: () => post("open", { env: { CLARITY_ENABLE_MCP_PROVISIONING: "1", ATTACKS_PROBE: "env-CANARY" } }),
    guarded: () => post("guarded", { env: { CLARITYD_AUTH_TOKEN: guardToken }, token: guardToken }),
    async fresh(options = {}) {
      const daemon = await startDaemon(options)
      owned.push(daemon)
      return daemon
    },
    folder: temporaryDirectory,
    own(thing) {
      owned.push(thing)
      return thing
    },
    async caseOver() {
      const wrong = await vitals()
      for (const thing of owned.toReversed()) await thing[Symbol.asyncDispose]()
      owned = []
      return wrong
    },
    vitals,
    async settled() {
      const wrong: string[] = []
      for (const [name, one] of posts) {
        const { daemon, restingMb } = await one
        if (restingMb === undefined) continue
        const limit = restingMb + allowedGrowthMb
        // Garbage is collected when there is work, not when there is none.
        for (let round = 0; round < 600 && (residentMb(daemon.program.pid) ?? 0) > limit; round++) {
          for (let each = 0; each < 50; each++) await (await fetch(`${daemon.url}/healthz`)).text()
        }
        const now = residentMb(daemon.program.pid) ?? 0
        if (now > limit) wrong.push(`the memory of the ${name} daemon went from ${restingMb} to ${now} MB`)
      }
      return wrong
    },
    async [Symbol.asyncDispose]() {
      for (const thing of owned.toReversed()) await thing[Symbol.asyncDispose]()
      for (const one of posts.values()) {
        const { daemon, recorder } = await one
        await daemon[Symbol.asyncDispose]()
        await recorder[Symbol.asyncDispose]()
      }
      await cleanUp()
    },
  }
}

/** Is it the process it was, and does it answer within a second? */
export async function vitalsOf({ program, url }: Daemon): Promise<string[]> {
  if (!alive(program.pid)) return [`the daemon (process ${program.pid}) is gone: ${program.stderr().slice(-400)}`]
  const health = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1000) }).then(
    async (response) => `${response.status} ${await response.text()}`,
    (error: Error) => error.name,
  )
  return health === "200 ok\n" ? [] : [`/healthz says ${health}`]
}

/** Resident memory in MB; undefined where there is no /proc. */
export function residentMb(pid: number): number | undefined {
  try {
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024)
  } catch {
    return undefined
  }
}
