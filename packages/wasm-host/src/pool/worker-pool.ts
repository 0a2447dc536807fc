import { availableParallelism } from "node:os"
import { abortError, ClarityError } from "@clarity-runtime/contracts"
import type { Powers } from "../guest/host.ts"
import { outcomes, type AnswerMessage, type Program } from "../guest/protocol.ts"
import { FairQueue } from "./fair-queue.ts"
import type { Ended, Job, PooledCall } from "./pooled-call.ts"
import { Thread } from "./thread.ts"

export interface PoolOptions {
  /** Most threads at once. */
  readonly workers: number
  /** Milliseconds after which a thread without work is ended. */
  readonly idleMs: number
  readonly powers: Powers
}

/** A program the pool runs. Disposing it ends its calls with `unavailable`. */
export interface PooledProgram {
  /** Rejects with ClarityError when aborted, when too many calls wait, or when the pool or program is closed. */
  run(job: Job): Promise<Ended>
  close(): void
}

/** Calls that may wait for a thread. */
const maxWaiting = 2048
/** How often a busy pool looks for calls that take too long. */
const sweepMs = 5
/** Short calls are posted ahead as long as what a thread holds takes less than this together. */
const aheadMs = 1
/** A call running longer than this gives up what was posted behind it. */
const longMs = 5
/** A call running longer than this, or known to, runs only when nobody else wants the processor. */
const slowMs = 20
/** An abandoned call may finish for this long before its thread is ended. */
const graceMs = 50
const startLimitMs = 15_000

/**
 * Runs programs in worker threads: started on use, ended when idle, replaced when a call runs over its limit. Short
 * calls share a thread back to back; a call that may be long gets one of its own, and one program never takes them all.
 */
export class WorkerPool {
  readonly #options: PoolOptions
  readonly #threads = new Set<Thread>()
  readonly #waiting = new FairQueue<PooledCall>()
  readonly #programs = new Map<number, Program>()
  readonly #ending = new Set<Promise<unknown>>()
  #sweeper: NodeJS.Timeout | undefined
  #trimmer: NodeJS.Timeout | undefined
  #lastCall = 0
  #lastProgram = 0
  #closed = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Threads that are there, idle or not. */
  get threads(): number {
    return this.#threads.size
  }

  add(program: Program): PooledProgram {
    this.#lastProgram += 1
    const key = this.#lastProgram
    this.#programs.set(key, program)
    const expected = new Map<number, number>()
    return {
      run: (job) => this.#run(key, job, expected),
      close: () => this.#remove(key),
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const key of this.#programs.keys()) this.#remove(key)
    for (const thread of this.#threads) this.#end(thread)
    clearTimeout(this.#sweeper)
    clearTimeout(this.#trimmer)
    await Promise.all(this.#ending)
  }

  #run(key: number, job: Job, expected: Map<number, number>): Promise<Ended> {
    return new Promise((resolve, reject) => {
      if (job.signal.aborted) return reject(abortError(job.signal))
      if (this.#closed || !this.#programs.has(key)) return reject(gone())
      if (this.#waiting.size >= maxWaiting) {
        return reject(
          new ClarityError("rate_limited", "too many calls wait for a wasm worker", { data: { reason: "queue full" } }),
        )
      }
      this.#lastCall = (this.#lastCall % 0x7fff_ffff) + 1
      const settled = () => job.signal.removeEventListener("abort", abort)
      const call: PooledCall = {
        id: this.#lastCall,
        program: key,
        job,
        expectedMs: expected.get(job.index) ?? Number.POSITIVE_INFINITY,
        queuedAt: performance.now(),
        place: 0,
        killAt: undefined,
        end: (ended) => {
          settled()
          resolve(ended)
        },
        fail: (error) => {
          settled()
          reject(error)
        },
      }
      const abort = () => this.#abandon(call, abortError(job.signal))
      job.signal.addEventListener("abort", abort, { once: true })
      this.#learn.set(call, expected)
      this.#waiting.push(key, call)
      this.#dispatch()
    })
  }

  /** What is learnt from a call's duration, by function of its program. */
  readonly #learn = new WeakMap<PooledCall, Map<number, number>>()

  #learnt(call: PooledCall, ms: number): void {
    const expected = this.#learn.get(call)
    const before = expected?.get(call.job.index)
    expected?.set(call.job.index, before === undefined ? ms : before * 0.8 + ms * 0.2)
  }

  #dispatch(): void {
    if (this.#waiting.size > 0) this.#waiting.drain((call) => this.#place(call))
    if (this.#waiting.size > 0 || [...this.#threads].some(({ head }) => head)) this.#watch()
  }

  #place(call: PooledCall): boolean {
    const program = this.#programs.get(call.program)
    if (!program) return true
    const quick = call.expectedMs <= aheadMs
    if (!quick && this.#holdsAllBut(call)) return false
    const slow = call.expectedMs > slowMs && call.expectedMs < Number.POSITIVE_INFINITY
    if (slow && this.#placeSlow(call, program)) return true
    for (const thread of this.#threads) {
      if (thread.slow && !slow) continue
      const idle = thread.head === undefined && thread.ready
      const ahead = quick && !thread.full && thread.expectedMs + call.expectedMs <= aheadMs && !this.#isLong(thread)
      if (idle || ahead) {
        thread.post(call, program)
        if (slow) thread.slowDown()
        return true
      }
    }
    if (this.#threads.size > 0) return false
    this.#start()?.post(call, program)
    return true
  }

  /** A call known to be slow can wait for a thread to start, so that those that are up stay free for others. */
  #placeSlow(call: PooledCall, program: Program): boolean {
    const spare = [...this.#threads].find(({ slow, head }) => slow && head === undefined)
    const thread = spare ?? this.#start()
    thread?.post(call, program)
    return thread !== undefined
  }

  /** True when a call that may be long would take the last thread, or the last processor, for its program. */
  #holdsAllBut(call: PooledCall): boolean {
    if (this.#options.workers < 2) return false
    let held = 0
    for (const { head } of this.#threads) if (head?.program === call.program) held += 1
    return held >= Math.max(1, Math.min(this.#options.workers, availableParallelism()) - 1)
  }

  #isLong(thread: Thread): boolean {
    return thread.headSince !== undefined && performance.now() - thread.headSince > longMs
  }

  #start(): Thread | undefined {
    if (this.#closed) return undefined
    if (this.#threads.size >= this.#options.workers) {
      // One that has to give way for good, and has nothing to do, makes room for one that need not.
      const spare = [...this.#threads].find(({ head, slow }) => slow && head === undefined)
      if (!spare) return undefined
      this.#end(spare)
    }
    const thread: Thread = new Thread(this.#options.powers, {
      ready: () => {
        this.#dispatch()
        this.#trimLater()
      },
      answer: (call, answer) => {
        if (thread.slow && !thread.head) thread.speedUp()
        this.#answered(call, answer)
      },
      died: ({ started, taken }, outOfMemory) => {
        this.#threads.delete(thread)
        const message = outOfMemory
          ? "memory limit: the call used up the host's memory for one module"
          : "the worker ended"
        for (const call of started) call.end({ kind: outOfMemory ? "fault" : "internal", message })
        // A thread that never came up would take its calls round for ever.
        if (thread.ready) this.#requeue(taken)
        else for (const call of taken) call.end({ kind: "internal", message: "a wasm worker could not be started" })
        this.#dispatch()
      },
    })
    this.#threads.add(thread)
    return thread
  }

  #answered(call: PooledCall, answer: AnswerMessage): void {
    const [, outcome, value, ms, log] = answer
    if (log) call.job.log(log)
    this.#learnt(call, ms)
    if (outcome === outcomes.value) call.end({ kind: "value", value })
    else {
      const kind = outcome === outcomes.fault ? "fault" : outcome === outcomes.tooLarge ? "tooLarge" : "internal"
      call.end({ kind, message: String(value) })
    }
    if (this.#waiting.size > 0) this.#dispatch()
    else this.#trimLater()
  }

  #requeue(calls: readonly PooledCall[]): void {
    for (const call of calls.toReversed()) this.#waiting.putBack(call.program, [call])
  }

  /** The caller is gone: a call that has not begun is dropped, one that runs may finish for a moment. */
  #abandon(call: PooledCall, error: Error): void {
    call.fail(error)
    if (this.#waiting.remove(call.program, call)) return
    for (const thread of this.#threads) {
      if (!thread.calls.includes(call)) continue
      if (thread.takeBack(call).length === 0) call.killAt = performance.now() + graceMs
      this.#watch()
    }
  }

  #remove(key: number): void {
    this.#programs.delete(key)
    this.#waiting.drain((call) => {
      if (call.program !== key) return false
      call.fail(gone())
      return true
    })
    for (const thread of this.#threads) {
      for (const call of thread.calls.filter(({ program }) => program === key)) this.#abandon(call, gone())
      thread.unload(key)
    }
  }

  #watch(): void {
    this.#sweeper ??= setTimeout(() => {
      this.#sweeper = undefined
      // After the messages that have arrived meanwhile: an answer in time counts, however late it is read.
      setImmediate(() => this.#sweep())
    }, sweepMs)
  }

  #sweep(): void {
    if (this.#closed) return
    const now = performance.now()
    for (const thread of this.#threads) {
      const head = thread.head
      if (!head) continue
      const since = thread.headSince
      if (since === undefined) {
        if (now - thread.startedAt > startLimitMs)
          this.#cut(thread, { kind: "internal", message: "a wasm worker did not start" })
        continue
      }
      if (now - since > head.job.limitMs) {
        this.#learnt(head, head.job.limitMs)
        this.#cut(thread, { kind: "timeout" })
      } else if (head.killAt !== undefined && now > head.killAt) this.#cut(thread, { kind: "timeout" })
      else {
        if (now - since > slowMs) thread.slowDown()
        if (now - since > longMs && thread.calls.length > 1) this.#requeue(thread.takeBack())
      }
    }
    const threads = [...this.#threads]
    const late = this.#waiting.firsts().some(({ queuedAt }) => now - queuedAt > longMs)
    // Whoever comes while all that is up runs long should not have to wait for a start.
    const held = threads.every((thread) => thread.slow || this.#isLong(thread))
    if ((late || held) && threads.every(({ ready }) => ready)) this.#start()
    this.#dispatch()
  }

  /** Ends a thread with the call that runs in it; what waits behind goes back to the queue. */
  #cut(thread: Thread, ended: Ended): void {
    const taken = thread.takeBack()
    for (const call of thread.calls) call.end(ended)
    this.#end(thread)
    this.#requeue(taken)
    this.#trimLater()
  }

  #end(thread: Thread): void {
    this.#threads.delete(thread)
    const ending = thread.close().finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  #trimLater(): void {
    this.#trimmer ??= setTimeout(() => {
      this.#trimmer = undefined
      const before = performance.now() - this.#options.idleMs
      for (const thread of this.#threads) if (!thread.head && thread.idleSince <= before) this.#end(thread)
      if (this.#threads.size > 0) this.#trimLater()
    }, this.#options.idleMs + 1).unref()
  }
}

function gone(): ClarityError {
  return new ClarityError("unavailable", "the service was stopped")
}
