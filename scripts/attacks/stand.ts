import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import {
  cleanUp,
  manifest,
  remote,
  startDaemon,
  temporaryDirectory,
  wasm,
  type Daemon,
  type DaemonOptions,
} from "../../test/e2e/support/daemon.ts"
import { ask, post } from "../../test/e2e/support/mcp.ts"
import { probed, settled, type Holdings } from "../../test/e2e/support/holdings.ts"
import { alive, inRoot } from "../../test/e2e/support/process.ts"
import { serveRecorder, type Recorder } from "./recorder.ts"

/** A daemon that stays for the whole run, with one service that counts what reaches it. */
export interface Post {
  readonly daemon: Daemon
  readonly recorder: Recorder
  readonly port: number
  /** What it held after ordinary work, memory as it was under that work; undefined where the system does not tell. */
  readonly resting: Holdings | undefined
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
  /** What the daemons that stayed hold after everything, with garbage collected. */
  memory(): Promise<readonly { readonly said: string; readonly ok: boolean }[]>
}

export const guardToken = "0f1e2d3c4b5a-CANARY-69788796a5b4"
const allowedGrowthMb = 50
const allowedHeapMb = 16
/** Idle workers are let go after half a minute. */
const settleMs = 90_000
const linux = process.platform === "linux"

/** `fast`: what stays is not warmed up beforehand, so that only its heap can be compared. */
export function createStand(fast: boolean): Stand {
  const posts = new Map<"open" | "guarded", Promise<Post>>()
  let owned: AsyncDisposable[] = []

  const post = (name: "open" | "guarded", options: DaemonOptions): Promise<Post> => {
    const known = posts.get(name) ?? startPost(options)
    posts.set(name, known)
    return known
  }
  async function startPost(options: DaemonOptions): Promise<Post> {
    const recorder = await serveRecorder()
    const workspace = temporaryDirectory()
    const daemon = await startDaemon({
      ...options,
      workspace,
      env: { ...options.env, ...(linux ? probed(workspace) : {}) },
    })
    await daemon.register(manifest("canary", remote(recorder.url), { era: "legacy" }))
    const headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
    if (!fast) {
      const { serviceId } = await daemon.register(manifest("warming", wasm(inRoot("test/fixtures/clarity/hog.wasm"))))
      await warmUp(daemon, headers)
      await daemon.client.removeService({ id: serviceId })
    }
    const busyMb = residentMb(daemon.program.pid) ?? 0
    const resting = linux ? { ...(await settled(daemon, 300)), rssMb: busyMb } : undefined
    return { daemon, recorder, port: Number(new URL(daemon.url).port), resting }
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
    async memory() {
      const found: { said: string; ok: boolean }[] = []
      for (const [name, one] of posts) {
        const { daemon, resting } = await one
        if (resting === undefined) continue
        const until = performance.now() + settleMs
        let now = await settled(daemon, 300)
        while (!fast && now.rssMb > resting.rssMb + allowedGrowthMb && performance.now() < until) {
          // V8 gives pages back while nothing happens, and a collection is something.
          await sleep(8000)
          now = await settled(daemon, 300)
        }
        const said = `the ${name} daemon: RSS ${Math.round(resting.rssMb)} MB, now ${Math.round(now.rssMb)}; heap ${Math.round(resting.heapMb)} MB, now ${Math.round(now.heapMb)}`
        found.push({
          said,
          ok: (fast || now.rssMb <= resting.rssMb + allowedGrowthMb) && now.heapMb <= resting.heapMb + allowedHeapMb,
        })
      }
      return found
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

/** Ordinary work, until heap, connections and workers have the size that ordinary work gives them. */
async function warmUp({ url }: Daemon, headers: Record<string, string>): Promise<void> {
  const text = "x".repeat(100_000)
  for (let round = 0; round < 150; round++) {
    await (await fetch(`${url}/api/status`, { headers })).text()
    await ask(
      url,
      "modern",
      "tools/call",
      { name: "canary__echo", arguments: round % 2 === 0 ? {} : { text } },
      { headers },
    )
  }
  const full = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping", params: { text: "x".repeat(4_000_000) } })
  for (let round = 0; round < 20; round++) await (await post(`${url}/mcp`, full, { headers })).text()
  const reply = { name: "warming__fn__big_reply", arguments: { n: 1_000_000 } }
  for (let round = 0; round < 5; round++)
    await Promise.all(Array.from({ length: 8 }, () => ask(url, "modern", "tools/call", reply, { headers })))
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
