import { randomBytes } from "node:crypto"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError, type BackendServices, type Clock } from "@clarity-runtime/contracts"
import { startChild, type Child, type Household } from "./child.ts"
import { childEnvironment, redactor, type Environment } from "./environment.ts"
import { createGuard } from "./guard.ts"
import { childStdio } from "./inherited-files.ts"
import { processRecords, reapLeftovers } from "./leftovers.ts"
import { createMemoryBook, type ProcessUsage, type Weight } from "./memory.ts"
import { cookieBearers, listProcesses, shared, startTimeOf } from "./process-table.ts"
import { startFailure } from "./start-failure.ts"
import {
  workingDirectories,
  type StdioService,
  type WorkingDirectories,
  type WorkingDirectory,
} from "./working-directory.ts"

/** A started process and its place in the books. */
export interface Launched {
  readonly child: Child
  readonly weight: Weight
  /** Takes the child's secrets out of a text. */
  redact(text: string): string
  /** Ends it (see `Child.stop`) and closes its place in the books. */
  stop(patience: "graceful" | "now"): Promise<void>
}

/** Starts the processes of one factory and knows those that live. Disposing it ends them all. */
export interface Launcher extends AsyncDisposable {
  /** Throws ClarityError with a hint. `onEnd` is called when nothing of the process is left. */
  launch(service: StdioService, services: BackendServices, onEnd: (launched: Launched) => void): Promise<Launched>
  usage(): ProcessUsage
}

export interface LauncherOptions {
  readonly stateDir: string | undefined
  readonly environment: Environment
  readonly budgetBytes: number
  readonly clock: Clock
}

interface Prepared {
  readonly household: Household
  readonly directories: WorkingDirectories
  /** Removed at the end. */
  readonly temporary: string | undefined
}

export function createLauncher({ stateDir, environment, budgetBytes, clock }: LauncherOptions): Launcher {
  const family = randomBytes(16).toString("hex")
  const table = shared(listProcesses)
  const book = createMemoryBook(budgetBytes, clock, table)
  const living = new Set<Launched>()
  let prepared: Promise<Prepared> | undefined
  let tell: (text: string) => void = () => {}
  const launching = new Set<Promise<unknown>>()
  let disposed = false

  async function prepare(): Promise<Prepared> {
    if (stateDir !== undefined) await reapLeftovers(stateDir, clock)
    const household: Household = {
      guard: createGuard(family, (text) => tell(text)),
      records: stateDir === undefined ? undefined : processRecords(stateDir),
      stdio: childStdio(),
      owner: { pid: process.pid, startTime: (await startTimeOf(process.pid)) ?? "" },
      table,
      bearers: shared(cookieBearers),
    }
    const temporary = stateDir === undefined ? await mkdtemp(join(tmpdir(), "clarity-processes-")) : undefined
    return { household, directories: workingDirectories(stateDir ?? temporary ?? tmpdir()), temporary }
  }

  async function launch(service: StdioService, services: BackendServices, onEnd: (launched: Launched) => void) {
    const { credentials, log, clock: time, isolationKey } = services
    const { origin } = service.manifest.spec
    tell = (text) => log.write("runtime", text)
    const { household, directories } = await (prepared ??= prepare())
    const cookie = `${family}.${randomBytes(16).toString("hex")}`
    const { variables, secrets } = await childEnvironment(service, origin.env ?? [], environment, credentials, cookie)
    const room = await book.admit(service.id, service.namespace)
    let directory: WorkingDirectory | undefined
    const leave = () => {
      directory?.leave()
      room.release()
    }
    try {
      const { path, declared } = (directory = await directories.enter(service, isolationKey))
      if (disposed) throw stopping(service.namespace)
      const { command, args = [] } = origin
      const child = await startChild(
        {
          serviceId: service.id,
          command,
          args,
          cwd: path,
          variables,
          cookie,
          clock: time,
          tell: (text) => log.write("runtime", text),
        },
        household,
      ).catch(async (thrown: unknown) => {
        throw await startFailure(thrown, {
          service: service.namespace,
          command,
          cwd: path,
          cwdDeclared: declared,
          path: environment["PATH"],
        })
      })
      let over: Promise<void> | undefined
      const launched: Launched = {
        child,
        weight: room.started(child.pid),
        redact: redactor(secrets),
        stop: (patience) => (over ??= finish(patience)),
      }
      const finish = async (patience: "graceful" | "now") => {
        await child.stop(patience)
        leave()
        living.delete(launched)
        onEnd(launched)
      }
      living.add(launched)
      void child.ended.then(() => launched.stop("now"))
      return launched
    } catch (error) {
      leave()
      throw error
    }
  }

  return {
    async launch(service, services, onEnd) {
      if (disposed) throw stopping(service.namespace)
      const work = launch(service, services, onEnd)
      launching.add(work)
      try {
        return await work
      } finally {
        launching.delete(work)
      }
    },
    usage: () => book.usage(),
    async [Symbol.asyncDispose]() {
      disposed = true
      if (!prepared) return
      const { household, temporary } = await prepared
      await Promise.allSettled(launching)
      while (living.size > 0) await Promise.all([...living].map((launched) => launched.stop("graceful")))
      await household.guard[Symbol.asyncDispose]()
      if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
    },
  }
}

export function stopping(service: string): ClarityError {
  return new ClarityError("unavailable", `service "${service}" cannot start: the daemon is stopping`, {
    data: { service },
  })
}
