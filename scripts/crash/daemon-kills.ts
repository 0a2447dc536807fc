import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { crashRounds } from "../../test/e2e/support/crash.ts"
import { startDaemon } from "../../test/e2e/support/daemon.ts"
import type { Journal } from "./journal.ts"
import { registryKind } from "./kinds.ts"
import type { Tally } from "./tally.ts"

/** SIGKILL of a real daemon while clients write through its API; the next daemon is asked what it knows. */
export async function daemonKills(options: {
  readonly rounds: number
  readonly seed: number
}): Promise<Omit<Tally, "campaign" | "seconds">> {
  const workspace = mkdtempSync(join(tmpdir(), "clarity-crash-"))
  const env = { NODE_COMPILE_CACHE: join(workspace, "cache") }
  const { rounds, acknowledged, lost, unreadable } = await crashRounds({ ...options, workspace, env })
  if (lost.length + unreadable.length === 0) rmSync(workspace, { recursive: true, force: true })
  return { points: rounds, unit: "kills", acknowledged, lost, unreadable, silent: [], other: [] }
}

/** Starts a daemon on a copy of what a killed writer left, and holds what it says against the journal. */
export async function daemonOver(workspace: string, journal: Journal): Promise<readonly string[]> {
  const room = mkdtempSync(join(tmpdir(), "clarity-second-"))
  cpSync(join(workspace, ".clarity"), join(room, ".clarity"), { recursive: true })
  try {
    const daemon = await startDaemon({ workspace: room })
    const { items } = await daemon.client.listServices({ limit: 2000 })
    const found = new Map<string, string>()
    for (const { serviceId, module, displayName } of items) {
      const { quarantine } = (await daemon.client.getService({ id: serviceId })).service.runtime
      const value = module.startsWith("q") ? quarantine?.reason : displayName
      if (value !== undefined && value !== null) found.set(module, value)
    }
    await daemon.stop()
    const wrong = journal.get(registryKind.name)?.copy().check(found) ?? []
    return wrong.map((each) => `a daemon over it: ${each}`)
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
}
