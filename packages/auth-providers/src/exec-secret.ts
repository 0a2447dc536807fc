import { spawn } from "node:child_process"
import type { Clock } from "@clarity-runtime/contracts"
import { CredentialProblem } from "./reference.ts"

export interface ProgramSecretsOptions {
  /** Programs that may be run, exactly as references name them; nothing else is. */
  readonly allowed: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
}

/** Secrets that a program prints: `op read ...`, `pass show ...`. */
export interface ProgramSecrets {
  /** Why this program may not be run; undefined when it may. */
  refusal(argv: readonly [string, ...string[]]): string | undefined
  /**
   * What the program printed, without its last line break; kept for 60 s. `renew`: not what is older than 10 s.
   * However many ask at once, the program runs once. Throws CredentialProblem without a word of its output.
   */
  read(argv: readonly [string, ...string[]], renew: boolean): Promise<string>
}

const runMs = 10_000
const maxOutput = 65_536
const keptMs = 60_000
const renewedMs = 10_000
const mostKept = 256

/** All a program gets of the daemon's environment: what a child of the process host gets. */
const passedOn =
  process.platform === "win32"
    ? ["APPDATA", "COMSPEC", "LOCALAPPDATA", "PATH", "PATHEXT", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE"]
    : ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]

export function programSecrets({ allowed, environment, clock }: ProgramSecretsOptions): ProgramSecrets {
  const kept = new Map<string, { readonly value: Promise<string>; readonly at: number }>()
  const names = new Set(allowed)

  function refusal([program]: readonly [string, ...string[]]): string | undefined {
    if (names.has(program)) return undefined
    return `the program ${JSON.stringify(program.slice(0, 64))} is not among credentials.exec of the configuration`
  }

  return {
    refusal,
    read(argv, renew) {
      const problem = refusal(argv)
      if (problem !== undefined) return Promise.reject(new CredentialProblem(problem))
      const key = JSON.stringify(argv)
      const now = clock.monotonic()
      const old = kept.get(key)
      if (old !== undefined && now - old.at < (renew ? renewedMs : keptMs)) return old.value
      const value = printed(argv, environment)
      const entry = { value, at: now }
      if (kept.size >= mostKept) kept.clear()
      kept.set(key, entry)
      const forget = () => {
        if (kept.get(key) === entry) kept.delete(key)
      }
      // The value does not stay in memory longer than it is good.
      value.then(() => clock.sleep(keptMs).then(forget), forget)
      return value
    },
  }
}

function printed(
  argv: readonly [string, ...string[]],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  const [program, ...rest] = argv
  const env: Record<string, string> = {}
  for (const name of passedOn) {
    const value = environment[name]
    if (value !== undefined && !value.startsWith("()")) env[name] = value
  }
  const own = process.platform !== "win32"
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new CredentialProblem(`the program ${program.slice(0, 64)} ${why}`))
    // A group of its own, so that what it started ends with it.
    const child = spawn(program, rest, {
      env,
      shell: false,
      detached: own,
      windowsHide: true,
      stdio: ["ignore", "pipe", "ignore"],
    })
    const chunks: Buffer[] = []
    let length = 0
    const kill = () => {
      child.stdout.destroy()
      if (child.pid === undefined) return
      try {
        process.kill(own ? -child.pid : child.pid, "SIGKILL")
      } catch {
        // It has ended, or belongs to somebody else by now: its answer is not waited for any more, either way.
      }
    }
    const timer = setTimeout(() => {
      fail(`did not end within ${runMs / 1000} s`)
      kill()
    }, runMs)
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      fail(`cannot be run (${error.code ?? "unknown reason"})`)
    })
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length
      chunks.push(chunk)
      if (length <= maxOutput) return
      fail(`printed more than ${maxOutput} bytes`)
      kill()
    })
    child.on("close", (code, signal) => {
      clearTimeout(timer)
      if (code !== 0) return fail(code === null ? `was ended by ${signal}` : `ended with exit code ${code}`)
      try {
        const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)).replace(/\r?\n$/, "")
        if (text === "") fail("printed nothing")
        else resolve(text)
      } catch {
        fail("printed something that is not UTF-8 text")
      }
    })
  })
}
