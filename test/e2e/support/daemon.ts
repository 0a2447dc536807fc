import { mkdtempSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ServiceManifestInput } from "@clarity-runtime/contracts"
import { createControlClient, type ControlClient } from "@clarity-runtime/control/client"
import { inRoot, startProgram, type Program } from "./process.ts"

export type Spec = ServiceManifestInput["spec"]
export type Origin = Spec["origin"]
export type ServiceAnswer = Awaited<ReturnType<ControlClient["getService"]>>["service"]

export interface DaemonOptions {
  /** Absent: a new temporary one, removed when the daemon is disposed. */
  readonly workspace?: string
  readonly args?: readonly string[]
  readonly env?: Record<string, string>
  /** What the client sends; does not configure the daemon. */
  readonly token?: string
}

/** A real `clarityd` process on a free port. Disposing it stops it as an operator would. */
export interface Daemon extends AsyncDisposable {
  readonly url: string
  readonly workspace: string
  readonly program: Program
  readonly client: ControlClient
  /** Applies a manifest over `POST /api/services/apply` and waits until it runs or has failed. */
  register(manifest: ServiceManifestInput): Promise<ServiceAnswer>
  state(id: string): Promise<string>
  /** SIGTERM by default; resolves with the exit code or the signal. */
  stop(signal?: NodeJS.Signals): Promise<number | string>
}

export const daemonMain = inRoot("apps/daemon/src/main.ts")

/** Programs that have not ended; a test that failed half-way leaves its daemon here. */
const running = new Set<Program>()
const directories = new Set<string>()

export function temporaryDirectory(): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), "clarity-e2e-")))
  directories.add(directory)
  return directory
}

/** Ends every daemon that is still there, and removes every temporary directory. */
export async function cleanUp(): Promise<void> {
  for (const program of running) program.child.kill()
  await Promise.all([...running].map((program) => program.exited))
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
}

/** Starts the program without waiting for anything: for what must fail. */
export function launchDaemon(options: DaemonOptions & { workspace: string }): Program {
  const { workspace, args = [], env } = options
  const program = startProgram([daemonMain, "--port", "0", "--workspace", workspace, ...args], {
    cwd: workspace,
    ...(env ? { env } : {}),
  })
  running.add(program)
  void program.exited.then(() => running.delete(program))
  return program
}

export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const workspace = options.workspace ?? temporaryDirectory()
  const program = launchDaemon({ ...options, workspace })
  const [, url = ""] = await program.says(/clarityd listens on (\S+)/)
  const client = createControlClient({ url, ...(options.token === undefined ? {} : { token: options.token }) })
  const stop = (signal: NodeJS.Signals = "SIGTERM") => {
    program.child.kill(signal)
    return program.exited
  }
  return {
    url,
    workspace,
    program,
    client,
    stop,
    register: async (manifest) => (await client.applyManifest({ manifest: { ...manifest }, startNow: true })).service,
    async state(id) {
      const { runtime } = (await client.getService({ id })).service
      return `${runtime.lifecycle} ${runtime.health}`
    },
    async [Symbol.asyncDispose]() {
      await stop()
      if (options.workspace === undefined) rmSync(workspace, { recursive: true, force: true })
    },
  }
}

export function manifest(module: string, origin: Origin, spec: Omit<Spec, "origin"> = {}): ServiceManifestInput {
  return {
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: module, module },
    spec: { ...spec, origin },
  }
}

export const remote = (endpoint: string, more: object = {}): Origin => ({ type: "remote_mcp", endpoint, ...more })
export const wasm = (wasmPath: string): Origin => ({ type: "local_wasm", wasmPath })
