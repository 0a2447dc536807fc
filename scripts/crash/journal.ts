import { spawn, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { createOracle, type Oracle } from "../../test/e2e/support/oracle.ts"
import { writtenKinds } from "./kinds.ts"

/** What one writer has said: an oracle for each kind of state. */
export type Journal = ReadonlyMap<string, Oracle>

export const emptyJournal = (): Journal => new Map(writtenKinds.map(({ name }) => [name, createOracle()]))
export const copyOf = (journal: Journal): Journal =>
  new Map([...journal].map(([name, oracle]) => [name, oracle.copy()]))
export const acknowledgedIn = (journal: Journal): number =>
  [...journal.values()].reduce((sum, oracle) => sum + oracle.acknowledged, 0)

export interface Writer {
  readonly child: ChildProcess
  readonly pid: number
  /** Resolves with the first acknowledgement of this start. */
  readonly writing: Promise<void>
  /** Resolves when it is gone and all it said is in the journal; with the exit code or the signal, and its complaints. */
  readonly gone: Promise<{ readonly code: number | string; readonly stderr: string }>
}

export interface WriterOptions {
  readonly workspace: string
  readonly journal: Journal
  readonly day: number
  readonly seed: number
  readonly naive?: boolean
  readonly cacheDir: string
  readonly env?: Record<string, string>
}

/** Starts a writer; all it says goes into the journal as it comes. */
export function startWriter({ workspace, journal, day, seed, naive = false, cacheDir, env }: WriterOptions): Writer {
  const script = fileURLToPath(new URL("writer.ts", import.meta.url))
  const child = spawn(
    process.execPath,
    ["--conditions=@clarity-runtime/source", script, workspace, String(day), String(seed), ...(naive ? ["naive"] : [])],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NODE_COMPILE_CACHE: cacheDir, ...env } },
  )
  const first = Promise.withResolvers<void>()
  let stderr = ""
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
  // A line that the kill cut short says nothing: it has no newline, and an acknowledgement counts from its newline on.
  let rest = ""
  child.stdout.setEncoding("utf8")
  child.stdout.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const [sign, name = "", key = "", value] = line.split(" ")
      const oracle = journal.get(name)
      if (oracle === undefined || sign === "=") continue
      if (sign === "?") oracle.ask(key, value === "-" ? undefined : value)
      if (sign !== "!") continue
      oracle.acknowledge(key, value === "-" ? undefined : value)
      first.resolve()
    }
  })
  const gone = once(child, "close").then(([code, signal]) => {
    first.resolve()
    return { code: (code ?? signal) as number | string, stderr }
  })
  return { child, pid: child.pid ?? 0, writing: first.promise, gone }
}
