import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { constants, setPriority, tmpdir } from "node:os"
import { join } from "node:path"
import {
  healthyServices,
  registerFault,
  residentMb,
  startFaultd,
  writeRules,
  type Faultd,
} from "../../test/e2e/support/faults.ts"
import { processesOf } from "../../test/e2e/support/process.ts"
import { start, type Started } from "../bench/processes.ts"
import { startLoad, type HealthyLoad } from "./healthy-load.ts"
import { root } from "../bench/processes.ts"

/** Of calls of faulty services: short, so that a cell is. */
export const patience = { timeoutMs: 400, totalMs: 1200 }

/** A daemon with four healthy services under load, and a place where faults are to be had. */
export interface Stand extends AsyncDisposable {
  readonly url: string
  readonly daemon: Started
  readonly faultd: Faultd
  readonly load: HealthyLoad
  /** Highest resident megabytes of the daemon since the last look. */
  peakMb(): number
  /** Children of the daemon that belong to faulty services, and exchanges still open. */
  leftovers(): Promise<{ readonly children: number; readonly exchanges: number }>
}

export async function openStand(requestsPerSecond: number): Promise<Stand> {
  const folder = mkdtempSync(join(tmpdir(), "clarity-faults-"))
  const workspace = join(folder, "workspace")
  mkdirSync(workspace)
  const [faultd, well] = await Promise.all([startFaultd(join(folder, "bad")), startFaultd(join(folder, "well"))])
  for (const pid of faultd.pids) setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL)
  writeRules(workspace, patience)
  const daemon = await start(
    [join(root, "apps/daemon/bin/clarityd.js"), "--port", "0", "--workspace", workspace],
    /listens on http:\/\/127\.0\.0\.1:(\d+)/,
    { ...process.env, ...(faultd.authority === undefined ? {} : { NODE_EXTRA_CA_CERTS: faultd.authority }) },
  )
  const url = `http://127.0.0.1:${daemon.port}`
  const healthy = healthyServices(well)
  for (const one of healthy) {
    const { outcome, words } = await registerFault(url, one)
    if (outcome !== "RUNNING") throw new Error(`${one.tool} does not run: ${outcome} ${words}`)
  }
  const targets = healthy.map(({ tool, text }) => ({ tool, text }))
  const load = startLoad({ origin: url, requestsPerSecond, targets })
  let peak = 0
  const sampler = setInterval(() => (peak = Math.max(peak, residentMb(daemon.pid))), 50)
  return {
    url,
    daemon,
    faultd,
    load,
    peakMb() {
      const found = Math.max(peak, residentMb(daemon.pid))
      peak = 0
      return found
    },
    async leftovers() {
      const children = processesOf(faultd.folder).filter((pid) => !faultd.pids.includes(pid))
      const exchanges = Object.values(await faultd.open()).reduce((sum, count) => sum + count, 0)
      return { children: children.length, exchanges }
    },
    async [Symbol.asyncDispose]() {
      clearInterval(sampler)
      load.stop()
      await daemon.stop()
      await faultd[Symbol.asyncDispose]()
      await well[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
