import { spawn, type ChildProcess } from "node:child_process"
import { readdirSync, readlinkSync } from "node:fs"

/** A process that said it is ready. */
export interface Running extends AsyncDisposable {
  readonly child: ChildProcess
  /** What the line that said so gave: the first group of the pattern. */
  readonly ready: string
  /** Everything it has printed. */
  output(): string
  /** Asks it to end and resolves with its exit code, or the name of the signal it died of. */
  stop(signal?: NodeJS.Signals): Promise<number | string>
}

export interface ProcessOptions {
  readonly args: readonly string[]
  readonly cwd: string
  /** Its first group is what `ready` gives; looked for in what the process prints, errors included. */
  readonly ready: RegExp
  readonly env?: Readonly<Record<string, string>>
}

/** Lets Node and the sources run without a build. */
export const fromSource = "--conditions=@clarity-runtime/source"

/** Runs this Node with arguments; resolves when the process is ready. Throws with what it said when it ends before. */
export function startNode({ args, cwd, ready, env }: ProcessOptions): Promise<Running> {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...environment(), ...env },
    stdio: ["pipe", "pipe", "pipe"],
  })
  let said = ""
  const ended = new Promise<number | string>((resolve) =>
    child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown")),
  )
  const running = (found: string): Running => ({
    child,
    ready: found,
    output: () => said,
    stop(signal = "SIGTERM") {
      child.kill(signal)
      return ended
    },
    async [Symbol.asyncDispose]() {
      child.kill()
      await ended
    },
  })
  return new Promise((resolve, reject) => {
    const listen = (chunk: Buffer) => {
      said += chunk.toString()
      const found = ready.exec(said)
      if (found !== null) resolve(running(found[1] ?? found[0]))
    }
    child.stdout.on("data", listen)
    child.stderr.on("data", listen)
    child.once("error", reject)
    void ended.then((code) => reject(new Error(`${args.join(" ")} ended with ${code} before it was ready:\n${said}`)))
  })
}

/** The processes that work in that directory or below it; empty where the system does not tell. */
export function processesIn(dir: string): number[] {
  if (process.platform !== "linux") return []
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`).startsWith(dir)
      } catch {
        return false // it has ended, or is another user's
      }
    })
    .map(Number)
}

/** This process's own environment without what would configure a daemon, a test runner or a Node below it. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(?:CLARITY|VITEST|NODE_OPTIONS$|NODE_ENV$|TEST$)/.test(name)),
  )
}
