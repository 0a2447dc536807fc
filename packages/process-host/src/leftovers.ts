import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { systemClock, type Clock } from "@clarity-runtime/contracts"
import * as v from "valibot"
import { endFamily } from "./process-family.ts"
import { signalGroup, signalProcess } from "./process-group.ts"
import { cookieBearers, startTimeOf } from "./process-table.ts"

const processSchema = v.object({ pid: v.pipe(v.number(), v.integer(), v.minValue(2)), startTime: v.string() })
const recordSchema = v.object({
  ...processSchema.entries,
  cookie: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}\.[0-9a-f]{32}$/)),
  service: v.string(),
  /** The daemon it belongs to: while that lives nobody else may touch it. */
  owner: processSchema,
})

/** What is written down of a running child, so that a later daemon can know it again without any doubt. */
export type ProcessRecord = v.InferOutput<typeof recordSchema>

/** The records below one state directory: `processes/<pid>.json`, readable by the owner only. */
export interface ProcessRecords {
  write(record: ProcessRecord): Promise<void>
  remove(pid: number): Promise<void>
}

export function processRecords(stateDir: string): ProcessRecords {
  const directory = join(stateDir, "processes")
  return {
    async write(record) {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      await writeFile(join(directory, `${record.pid}.json`), JSON.stringify(record), { mode: 0o600 })
    },
    async remove(pid) {
      await rm(join(directory, `${pid}.json`), { force: true })
    },
  }
}

/** What was found and ended. */
export interface Reaped {
  /** Services whose processes were still there, once each. */
  readonly services: readonly string[]
  readonly processes: number
}

/**
 * Ends what an earlier daemon left running in this state directory: SIGTERM, one second, SIGKILL. Touches a process
 * only when it carries the recorded cookie in its environment, and a group only when its leader has the recorded start
 * time as well. Records of a daemon that still lives are left alone. Call it at start, before services come up;
 * `stdioBackends` does so by itself before its first start. Never throws.
 */
export async function reapLeftovers(stateDir: string, clock: Clock = systemClock): Promise<Reaped> {
  const directory = join(stateDir, "processes")
  const names = (await readdir(directory).catch(() => [])).filter((name) => /^\d+\.json$/.test(name))
  const orphans = new Map<string, ProcessRecord>()
  const files: string[] = []
  for (const name of names) {
    const record = await readRecord(join(directory, name))
    if (record && (await startTimeOf(record.owner.pid)) === record.owner.startTime) continue
    files.push(join(directory, name))
    if (record) orphans.set(record.cookie, record)
  }
  if (files.length === 0) return { services: [], processes: 0 }

  const owners = new Map<number, ProcessRecord>()
  const find = async () => {
    const bearers = orphans.size === 0 ? [] : await cookieBearers()
    return bearers.flatMap(({ pid, cookie }) => {
      const record = orphans.get(cookie)
      if (!record || pid === process.pid) return []
      owners.set(pid, record)
      return [pid]
    })
  }
  const leaders = new Set<number>()
  for (const { pid, startTime } of orphans.values()) if ((await startTimeOf(pid)) === startTime) leaders.add(pid)
  const send = (pid: number, signal: NodeJS.Signals) =>
    leaders.has(pid) ? signalGroup(pid, signal) : signalProcess(pid, signal)
  const { found, left } = await endFamily(find, send, clock)
  // What could not be ended keeps its record, for the next start to try again.
  if (left === 0) await Promise.all(files.map((file) => rm(file, { force: true }).catch(() => undefined)))
  const services = new Set([...found].flatMap((pid) => owners.get(pid)?.service ?? []))
  return { services: [...services].sort(), processes: found.size }
}

async function readRecord(path: string): Promise<ProcessRecord | undefined> {
  try {
    const parsed = v.safeParse(recordSchema, JSON.parse(await readFile(path, "utf8")))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}
