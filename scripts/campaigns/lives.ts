import { rmSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, startDaemon, temporaryDirectory, type Daemon } from "../../test/e2e/support/daemon.ts"
import { backTo, grown, probed, settled } from "../../test/e2e/support/holdings.ts"
import { callTool, textOf } from "../../test/e2e/support/mcp.ts"
import { generator } from "../../test/e2e/support/oracle.ts"
import { alive, inSupport, processesOf } from "../../test/e2e/support/process.ts"
import { Violations, type Verdict } from "./verdict.ts"

export interface LifeOptions {
  readonly cycles: number
  readonly kills: number
  /** Services that live side by side. */
  readonly services?: number
  readonly seed: number
  /** How long nothing may change before what is held is counted. */
  readonly quietMs?: number
  report?(line: string): void
}

const namespaceOf = (index: number) => `life_${index}`

/** Every second one starts a process of its own beside it, which nobody but its process group knows. */
function origin(index: number) {
  const server = `exec '${process.execPath}' '${inSupport("nonce.ts")}' modern`
  const command = index % 2 === 0 ? server : `sleep 3600 & ${server}`
  return { type: "local_stdio" as const, command: "/bin/sh", args: ["-c", command] }
}

/**
 * Services started and stopped again and again, then the daemon killed with SIGKILL at random moments. No process is
 * left behind, and the daemon that lived through it holds in the end what it held before.
 */
export async function lives(options: LifeOptions): Promise<Verdict> {
  const { cycles, kills, services = 8, quietMs = 5000, report = () => {} } = options
  const random = generator(options.seed)
  const violations = new Violations()
  const figures = { cycles: 0, "failed cycles": 0, "daemons killed": 0, "orphan processes": 0, "processes seen": 0 }
  let held: Record<string, number> = {}
  const workspace = temporaryDirectory()
  try {
    const daemon = await startDaemon({ workspace, env: probed(workspace) })
    const ids: string[] = []
    for (let index = 0; index < services; index++)
      ids.push((await daemon.register(manifest(namespaceOf(index), origin(index)))).serviceId)
    await startAndStop(daemon, ids, services)
    const before = await settled(daemon, quietMs)
    const seen = processesOf(workspace).length
    await startAndStop(daemon, ids, cycles)
    const after = await backTo(before, daemon)
    for (const what of grown(before, after)) violations.add(what)
    held = {
      "open files before": before.fds,
      "open files after": after.fds,
      "heap MB before": before.heapMb,
      "heap MB after": after.heapMb,
      "RSS MB before": before.rssMb,
      "RSS MB after": after.rssMb,
    }
    if (after.heapMb > before.heapMb + 16) violations.add(`the heap grew from ${before.heapMb} to ${after.heapMb} MB`)
    if (after.rssMb > before.rssMb + 50) violations.add(`the memory grew from ${before.rssMb} to ${after.rssMb} MB`)
    const now = processesOf(workspace).length
    if (now !== seen) violations.add(`${seen} processes before, ${now} after`)
    await daemon.stop()
    await nobodyLeft("after the daemon ended in order")
    for (let kill = 0; kill < kills; kill++) await killOne(kill)
  } finally {
    rmSync(workspace, { recursive: true, force: true })
  }
  return { figures: { ...figures, ...held }, violations: violations.list() }

  async function startAndStop(daemon: Daemon, ids: readonly string[], most: number): Promise<void> {
    const until = figures.cycles + most
    await Promise.all(
      ids.map(async (id, index) => {
        while (figures.cycles < until) {
          figures.cycles++
          try {
            await daemon.client.stopService({ id })
            const { runtime } = (await daemon.client.startService({ id })).service
            const said = textOf(
              await callTool(daemon.url, `${namespaceOf(index)}__nonce`, { nonce: String(figures.cycles) }),
            )
            if (runtime.lifecycle !== "RUNNING" || !/^\d+$/.test(said))
              throw new Error(`${runtime.lifecycle}, said ${said}`)
          } catch (error) {
            figures["failed cycles"]++
            violations.add(`${namespaceOf(index)}: ${(error as Error).message}`)
          }
          if (figures.cycles % 100 === 0) report(`${figures.cycles} cycles`)
        }
      }),
    )
  }

  /** Some die while their services are still starting, most when all of them run. */
  async function killOne(number: number): Promise<void> {
    const daemon = await startDaemon({ workspace })
    if (random() < 0.7) await allRunning(daemon)
    else await sleep(random() * 500)
    figures["processes seen"] += processesOf(workspace).length
    await daemon.stop("SIGKILL")
    await nobodyLeft(`kill ${number}`)
    figures["daemons killed"]++
    if (number % 10 === 9) report(`${number + 1} daemons killed`)
  }

  async function allRunning(daemon: Daemon): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      const { items } = await daemon.client.listServices({})
      if (items.every(({ lifecycle }) => lifecycle === "RUNNING")) return
      await sleep(50)
    }
    violations.add("services did not come up again after a kill")
  }

  async function nobodyLeft(when: string): Promise<void> {
    let left = processesOf(workspace)
    for (let tries = 0; tries < 100 && left.length > 0; tries++) {
      await sleep(50)
      left = left.filter(alive)
    }
    figures["orphan processes"] += left.length
    if (left.length > 0) violations.add(`${when}: processes left after 5 s: ${left.join(", ")}`)
  }
}
