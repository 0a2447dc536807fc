import { spawn, type ChildProcess } from "node:child_process"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../../../", import.meta.url))
export const inRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
export const inSupport = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** A program under test and all it has said. */
export interface Program {
  readonly child: ChildProcess
  readonly pid: number
  stdout(): string
  stderr(): string
  /** Exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  /** Resolves with the match once stdout has it; rejects with what was said when the program ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>
}

/** Starts this Node on a TypeScript file from source, with an environment that configures nothing by accident. */
export function startProgram(args: readonly string[], options: { cwd: string; env?: Record<string, string> }): Program {
  const child = spawn(process.execPath, ["--conditions=@clarity-runtime/source", ...args], {
    cwd: options.cwd,
    env: { ...neutralEnvironment(), ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  })
  const said = { stdout: "", stderr: "" }
  const listeners = new Set<() => void>()
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (chunk: Buffer) => {
      said[name] += chunk.toString()
      for (const listener of listeners) listener()
    })
  }
  const exited = new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message))
    child.once("close", (code, signal) => resolve(code ?? signal ?? "unknown"))
  })
  const { pid } = child
  if (pid === undefined) throw new Error("the program could not be started")
  return {
    child,
    pid,
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    exited,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(said.stdout)
          if (found === null) return
          listeners.delete(look)
          resolve(found)
        }
        listeners.add(look)
        look()
        void exited.then((code) => reject(new Error(`it ended with ${code}:\n${said.stdout}\n${said.stderr}`)))
      }),
  }
}

/** SIGKILL for one process. Anything that is not one process's id is refused: 0 and negative numbers mean many. */
export function killProcess(pid: number | undefined): void {
  if (pid === undefined || !Number.isSafeInteger(pid) || pid < 2) throw new Error(`not the id of a process: ${pid}`)
  process.kill(pid, "SIGKILL")
}

/** Is there such a process, not counting one that has ended and waits to be collected? */
export function alive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid < 2) return false
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readStatus(pid))
  } catch {
    return false
  }
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8")
  } catch {
    return ""
  }
}

/** Processes that work below a directory or name it on their command line. Linux only; elsewhere none are known. */
export function processesOf(directory: string): number[] {
  if (process.platform !== "linux") return []
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, "utf8")
        return line.includes(directory) || readlinkSync(`/proc/${name}/cwd`).startsWith(directory)
      } catch {
        return false // it has ended meanwhile, or is another user's
      }
    })
    .map(Number)
    .filter((pid) => pid !== process.pid && alive(pid))
}

function neutralEnvironment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name, value]) => value !== undefined && !/^(?:CLARITY|VITEST|NODE_OPTIONS$|NODE_ENV$|TEST$)/.test(name),
  )
  return Object.fromEntries(kept) as Record<string, string>
}
