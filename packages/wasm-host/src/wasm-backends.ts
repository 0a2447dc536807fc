import {
  abortError,
  ClarityError,
  type BackendFactory,
  type BackendServices,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import type { Powers } from "./guest/host.ts"
import { webAssembly } from "./guest/webassembly.ts"
import { refusal } from "./module/byte-reader.ts"
import { moduleBounds } from "./module/section-reader.ts"
import { WorkerPool, type PooledProgram } from "./pool/worker-pool.ts"
import { prepareModule, type Prepared } from "./prepare.ts"
import { reloading, type Build } from "./reloading.ts"
import { createWasmService, defaultCallTimeoutMs } from "./wasm-service.ts"

export interface WasmOptions {
  /** Where signatures are kept (`<stateDir>/wasm/<sha256>.json`) for when a source is gone; absent: nowhere. */
  readonly stateDir?: string
  /** Most worker threads at once; default 4. They start on use. */
  readonly workers?: number
  /** Milliseconds one call may run, for services that set no `spec.limits.timeoutMs`; default 5000. */
  readonly callTimeoutMs?: number
  /** Milliseconds after which an idle worker thread is ended; default 30,000. */
  readonly workerIdleMs?: number
  /** Fixed clock and dice, for tests and replays. */
  readonly powers?: Powers
}

export interface WasmBackends extends BackendFactory<"local_wasm">, AsyncDisposable {
  /** Worker threads that are there now. */
  readonly workers: number
}

/**
 * Makes backends of wasm modules built by clarityc. All of them share one pool of worker threads, which this owns:
 * dispose it after the backends. Modules are checked section by section before they are compiled, run in a fresh
 * instance and heap per call, and reach only pure host functions, Log, Time and Random.
 */
export function wasmBackends(options: WasmOptions = {}): WasmBackends {
  const pool = new WorkerPool({
    workers: options.workers ?? 4,
    idleMs: options.workerIdleMs ?? 30_000,
    powers: options.powers ?? {},
  })
  const callTimeoutMs = options.callTimeoutMs ?? defaultCallTimeoutMs

  async function start(
    service: ServiceDefinition,
    services: Pick<BackendServices, "log" | "clock">,
    prepared: Prepared,
    signal: AbortSignal,
  ): Promise<Build> {
    const note = (text: string) => services.log.write("runtime", text)
    const program = pool.add(await compile(prepared))
    try {
      if (prepared.shape.start) await tryStart(program, callTimeoutMs, signal, note)
      if (signal.aborted) throw abortError(signal)
      return { prepared, service: createWasmService(service, services, prepared, program, callTimeoutMs) }
    } catch (error) {
      program.close()
      throw error
    }
  }

  return {
    type: "local_wasm",

    async inspect(service, signal) {
      await prepareModule(service.manifest, options.stateDir, () => {})
      if (signal.aborted) throw abortError(signal)
    },

    async open(service, services, signal) {
      const note = (text: string) => services.log.write("runtime", text)
      const prepare = () => prepareModule(service.manifest, options.stateDir, note)
      const prepared = await prepare()
      if (signal.aborted) throw abortError(signal)
      const first = await start(service, services, prepared, signal)
      return reloading(first, prepare, (changed, during) => start(service, services, changed, during))
    },

    get workers() {
      return pool.threads
    },

    [Symbol.asyncDispose]: () => pool.close(),
  }
}

async function compile(prepared: Prepared) {
  const { shape, signatures } = prepared
  const pages = Math.min(shape.memory?.maxPages ?? 0, moduleBounds.pages)
  try {
    return {
      module: await webAssembly.compile(prepared.bytes),
      heapBase: shape.heapBase ?? 0,
      maxBytes: pages * 65_536,
      resettable: shape.memoryOnly,
      functions: signatures.functions.map(({ name, params, result }) => ({
        name,
        params: params.map(({ type }) => type),
        result,
      })),
    }
  } catch (cause) {
    if (!(cause instanceof webAssembly.CompileError)) throw cause
    throw refusal(`the module does not compile: ${cause.message.slice(0, 300)}`, "build it again with clarityc")
  }
}

/** Runs a module's start function once, under the time limit, so that a service that cannot start never does. */
async function tryStart(
  program: PooledProgram,
  limitMs: number,
  signal: AbortSignal,
  note: (text: string) => void,
): Promise<void> {
  const log = (entries: readonly (readonly [string, string])[]) => {
    for (const [, text] of entries) note(text)
  }
  const ended = await program.run({ index: -1, args: [], limitMs, maxResultBytes: 1024, signal, log })
  if (ended.kind === "timeout") {
    throw new ClarityError("upstream_timeout", `the module's start function did not finish within ${limitMs} ms`, {
      data: { reason: "time limit", hint: "modules made by clarityc have no start function; build it again" },
    })
  }
  if (ended.kind !== "value") {
    throw refusal(`the module cannot be started: ${ended.message}`, "build it again with clarityc")
  }
}
