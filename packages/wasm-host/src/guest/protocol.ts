import type { ClarityType } from "../types.ts"
import type { LogEntry } from "./call-log.ts"
import type { Powers } from "./host.ts"
import type { Plain } from "./values.ts"
import type { WasmModule } from "./webassembly.ts"

/** What a worker is started with. `claims` has one place per call it may hold; see `claimCall`. */
export interface WorkerStart {
  readonly claims: SharedArrayBuffer
  readonly powers: Powers
}

/** A module as a worker holds it. */
export interface Program {
  readonly module: WasmModule
  readonly heapBase: number
  /** Most the module's memory may grow to. */
  readonly maxBytes: number
  /** Its memory is all that a call can change: an instance can be used again once that is put back. */
  readonly resettable: boolean
  readonly functions: readonly {
    readonly name: string
    readonly params: readonly ClarityType[]
    readonly result: ClarityType
  }[]
}

export interface LoadMessage {
  readonly load: number
  readonly program: Program
}

export interface UnloadMessage {
  readonly unload: number
}

/** [call, place in `claims`, program, function or -1 to instantiate only, arguments, most bytes of result] */
export type CallMessage = readonly [number, number, number, number, readonly Plain[], number]

export type ToWorker = LoadMessage | UnloadMessage | CallMessage

/** How a call ended: value, fault of the module, result too large, fault of the host. */
export const outcomes = { value: 0, fault: 1, tooLarge: 2, internal: 3 } as const

/** [call, outcome, value or message, milliseconds it ran, log lines] */
export type AnswerMessage = readonly [number, number, unknown, number, readonly LogEntry[] | undefined]

export interface LogMessage {
  readonly call: number
  readonly log: readonly LogEntry[]
}

/** The worker is up; `ready` is its thread's id for the operating system, 0 where that is not known. */
export interface ReadyMessage {
  readonly ready: number
}

export type FromWorker = ReadyMessage | AnswerMessage | LogMessage

/**
 * A posted call belongs to whoever changes its place in `claims` from its number to 0 first: the worker that then runs
 * it, or the pool that takes it back.
 */
export function claimCall(claims: Int32Array, place: number, call: number): boolean {
  return Atomics.compareExchange(claims, place, call, 0) === call
}
