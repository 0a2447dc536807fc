import { Worker } from "node:worker_threads"
import type { Powers } from "../guest/host.ts"
import {
  claimCall,
  type AnswerMessage,
  type CallMessage,
  type FromWorker,
  type LogMessage,
  type Program,
  type ToWorker,
  type WorkerStart,
} from "../guest/protocol.ts"
import type { PooledCall } from "./pooled-call.ts"
import { giveWay, standUp } from "./priority.ts"

/** Calls a worker may hold: the one it runs and those posted ahead, so that it need not wait for the next. */
export const postedAhead = 16

const entry = new URL(import.meta.url.endsWith(".ts") ? "../guest/worker.ts" : "../guest/worker.js", import.meta.url)

export interface ThreadEvents {
  ready(): void
  answer(call: PooledCall, answer: AnswerMessage): void
  /** The thread ended by itself; `calls` were with it. */
  died(
    calls: { readonly started: readonly PooledCall[]; readonly taken: readonly PooledCall[] },
    outOfMemory: boolean,
  ): void
}

/** One worker thread and the calls it holds. It lets the process end while it holds none. */
export class Thread {
  readonly #worker: Worker
  readonly #claims = new Int32Array(new SharedArrayBuffer(4 * postedAhead))
  readonly #places: number[] = Array.from({ length: postedAhead }, (_, place) => place)
  readonly #programs = new Set<number>()
  readonly #calls: PooledCall[] = []
  readonly #startedAt = performance.now()
  #headSince: number | undefined
  #idleSince = performance.now()
  #ready = false
  #systemId = 0
  #slow = false
  #closing: Promise<unknown> | undefined

  constructor(powers: Powers, events: ThreadEvents) {
    const workerData: WorkerStart = { claims: this.#claims.buffer as SharedArrayBuffer, powers }
    this.#worker = new Worker(entry, {
      name: "clarity-wasm",
      workerData,
      env: {},
      execArgv: [],
      stdin: false,
      resourceLimits: { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
    })
    this.#worker.unref()
    let outOfMemory = false
    this.#worker.on("message", (message: FromWorker) => this.#message(message, events))
    this.#worker.on("error", (error: Error) => {
      outOfMemory = "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY"
    })
    this.#worker.on("exit", () => {
      if (this.#closing) return
      this.#closing = Promise.resolve()
      const taken = this.takeBack()
      events.died({ started: this.#calls.splice(0), taken }, outOfMemory)
    })
  }

  get ready(): boolean {
    return this.#ready
  }

  /** The call that runs, and since when (monotonic ms; undefined while the thread starts). */
  get head(): PooledCall | undefined {
    return this.#calls[0]
  }

  get headSince(): number | undefined {
    return this.#headSince
  }

  get startedAt(): number {
    return this.#startedAt
  }

  get idleSince(): number {
    return this.#idleSince
  }

  get calls(): readonly PooledCall[] {
    return this.#calls
  }

  /** Milliseconds its calls are likely to take together. */
  get expectedMs(): number {
    let sum = 0
    for (const call of this.#calls) sum += call.expectedMs
    return sum
  }

  /** It runs only when nobody else wants to. */
  get slow(): boolean {
    return this.#slow
  }

  /** What runs in it is nothing others should wait for. */
  slowDown(): void {
    if (!this.#slow && this.#ready) this.#slow = giveWay(this.#systemId)
  }

  /** As quick as any again, where the system allows that. */
  speedUp(): void {
    if (this.#slow && standUp(this.#systemId)) this.#slow = false
  }

  get full(): boolean {
    return this.#places.length === 0
  }

  post(call: PooledCall, program: Program): void {
    const place = this.#places.pop()
    if (place === undefined) throw new Error("posted to a full thread")
    if (!this.#programs.has(call.program)) {
      this.#programs.add(call.program)
      this.#send({ load: call.program, program })
    }
    if (this.#calls.length === 0) {
      this.#worker.ref()
      if (this.#ready) this.#headSince = performance.now()
    }
    call.place = place
    this.#calls.push(call)
    Atomics.store(this.#claims, place, call.id)
    const message: CallMessage = [call.id, place, call.program, call.job.index, call.job.args, call.job.maxResultBytes]
    this.#send(message)
  }

  unload(program: number): void {
    if (this.#programs.delete(program)) this.#send({ unload: program })
  }

  /** Takes back the calls that have not begun (or the one named), in order. */
  takeBack(only?: PooledCall): PooledCall[] {
    const taken = this.#calls.filter(
      (call) => (only === undefined || call === only) && claimCall(this.#claims, call.place, call.id),
    )
    for (const call of taken) this.#drop(call)
    return taken
  }

  /** Ends the thread, whatever it does. Its calls are the caller's affair. */
  close(): Promise<unknown> {
    this.#calls.length = 0
    this.#closing ??= this.#worker.terminate()
    return this.#closing
  }

  #message(message: FromWorker, events: ThreadEvents): void {
    if (this.#closing) return
    if ("ready" in message) {
      this.#ready = true
      this.#systemId = message.ready
      if (this.#calls.length > 0) this.#headSince = performance.now()
      events.ready()
    } else if (isLog(message)) {
      this.#calls.find(({ id }) => id === message.call)?.job.log(message.log)
    } else {
      const call = this.#calls.find(({ id }) => id === message[0])
      if (!call) return
      this.#drop(call)
      events.answer(call, message)
    }
  }

  #send(message: ToWorker): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(message)
  }

  #drop(call: PooledCall): void {
    const index = this.#calls.indexOf(call)
    this.#calls.splice(index, 1)
    this.#places.push(call.place)
    const now = performance.now()
    if (index === 0) this.#headSince = this.#ready ? now : undefined
    if (this.#calls.length === 0) {
      this.#idleSince = now
      this.#worker.unref()
    }
  }
}

function isLog(message: AnswerMessage | LogMessage): message is LogMessage {
  return "log" in message
}
