import { spawn, type ChildProcess } from "node:child_process"
import { mkdtempSync, realpathSync, rmSync } from "node:fs"
import { createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..", "..")
const fromSource = "--conditions=@clarity-runtime/source"
export const inRoot = (path: string) => join(root, path)
/** Arguments of `node` that run this program from source. */
export const ctlArguments = [fromSource, inRoot("apps/ctl/bin/dev.js")]

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: string
}

/** Runs clarityctl to its end. */
export async function ctl(args: readonly string[], { cwd, env = {}, stdin = "" }: RunOptions = {}): Promise<Ran> {
  const child = spawn(process.execPath, [...ctlArguments, ...args], { cwd, env: { ...cleanEnvironment(), ...env } })
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
  child.stdin.on("error", () => undefined).end(stdin)
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve))
  return { code, stdout, stderr }
}

function cleanEnvironment(): NodeJS.ProcessEnv {
  const { CLARITYD_URL: _, CLARITYD_AUTH_TOKEN: __, CLARITY_API_TOKEN: ___, CLARITYC_BIN: ____, ...env } = process.env
  return env
}

export function temporaryFolder(): { path: string; remove: () => void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "clarity-ctl-")))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A daemon from source on a port of its own, which it keeps when started again. */
export interface TestDaemon extends AsyncDisposable {
  readonly url: string
  readonly workspace: string
  start(): Promise<void>
  stop(signal?: NodeJS.Signals): Promise<void>
}

export async function testDaemon(env: Readonly<Record<string, string>> = {}): Promise<TestDaemon> {
  const folder = temporaryFolder()
  const port = await freePort()
  let child: ChildProcess | undefined
  const daemon: TestDaemon = {
    url: `http://127.0.0.1:${port}`,
    workspace: folder.path,
    async start() {
      const args = [fromSource, inRoot("apps/daemon/src/main.ts"), "--workspace", folder.path, "--port", String(port)]
      const started = spawn(process.execPath, args, {
        env: { ...cleanEnvironment(), ...env },
        stdio: ["ignore", "pipe", "pipe"],
      })
      child = started
      let said = ""
      await new Promise<void>((resolve, reject) => {
        const hear = (chunk: Buffer) => {
          said = (said + chunk.toString()).slice(-20_000)
          if (said.includes("clarityd listens on")) resolve()
        }
        started.stdout.on("data", hear)
        started.stderr.on("data", hear)
        started.once("exit", (code, signal) => {
          if (child === started) process.stderr.write(`the daemon ended by itself (${code ?? signal}): ${said}\n`)
          reject(new Error(`the daemon ended: ${said}`))
        })
      })
    },
    async stop(signal = "SIGTERM") {
      const running = child
      child = undefined
      if (running === undefined || running.exitCode !== null) return
      const gone = new Promise((resolve) => running.once("exit", resolve))
      running.kill(signal)
      await gone
    },
    async [Symbol.asyncDispose]() {
      await daemon.stop()
      folder.remove()
    },
  }
  await daemon.start()
  return daemon
}
