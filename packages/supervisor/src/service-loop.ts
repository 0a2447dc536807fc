import {
  abortError,
  asClarityError,
  ClarityError,
  type AcquireContext,
  type Clock,
  type Credentials,
  type Interface,
  type Introspection,
  type JsonObject,
  type Lease,
  type Level,
  type Lifecycle,
  type Registry,
  type ServiceLog,
  type ServiceRecord,
  type ServiceStatus,
  type ServiceView,
  type Telemetry,
} from "@clarity-runtime/contracts"
import { FailureCount, type Failure } from "./backoff.ts"
import { deadline, raced, type Deadline } from "./deadline.ts"
import { desiredOf, generationKey, wantedOf, type Wanted } from "./desired.ts"
import { conditionOf, sameCondition, unavailable, wellCondition, type Condition } from "./health.ts"
import { createInstance, sharedKey, type Instance, type InstanceKey } from "./instances.ts"
import { changeReport, InterfaceBook } from "./interface-book.ts"
import { openBackend, UnknownOrigin, type Factories } from "./opening.ts"
import type { Bounds } from "./options.ts"
import { Pool } from "./pool.ts"
import { recycleRules, recycleWords, type RecycleReason } from "./recycle.ts"
import { Refresher } from "./refresher.ts"
import { Serving, type Served } from "./serving.ts"
import { keepView } from "./snapshot.ts"
import type { StartGate, StartTicket } from "./start-gate.ts"
import { statusOf } from "./status.ts"
import { tend } from "./tending.ts"
import { mayMove } from "./transitions.ts"
import { Waiters, Wake } from "./waiters.ts"

/** What all loops of a supervisor share. */
export interface LoopParts {
  readonly registry: Registry
  readonly factories: Factories
  readonly telemetry: Telemetry
  readonly credentials: Credentials
  readonly clock: Clock
  readonly random: () => number
  readonly bounds: Bounds
  readonly gate: StartGate
  /** The view of a service is another object now. */
  readonly changed: () => void
}

interface Attempt {
  readonly abort: AbortController
  readonly ticket: StartTicket
}

/**
 * Keeps one service as it is wanted. Level-based: everything that happens only changes what is known here and wakes the
 * loop, which then looks at all of it and takes the one next step. Nothing in `#step` waits.
 */
export class ServiceLoop {
  readonly id: string
  /** Resolves when the loop was closed and nothing of the service is left. */
  readonly ended: Promise<void>
  view: ServiceView
  readonly #parts: LoopParts
  readonly #log: ServiceLog
  readonly #book: InterfaceBook
  readonly #failures: FailureCount
  readonly #pool: Pool
  readonly #refresher: Refresher
  readonly #serving: Serving
  readonly #wake = new Wake()
  readonly #waiters = new Waiters()
  readonly #draining = new Set<Instance>()
  readonly #writing = new Set<Promise<void>>()
  #record: ServiceRecord
  #namespace: string
  #generation: string
  #lifecycle: Lifecycle = "REGISTERED"
  #condition: Condition = { health: "UNKNOWN" }
  #main: Instance | undefined
  #attempt: Attempt | undefined
  #failure: Failure | undefined
  /** A quarantine the registry has not confirmed yet. */
  #ownQuarantine: { readonly reason: string; readonly since: number } | undefined
  #awaySince: number | undefined
  #failedAttempts = 0
  #restartCount = 0
  /** Calls that wait for the shared instance. */
  #waiting = 0
  /** Somebody asked for it to run now. */
  #kicked = false
  /** Stopped for want of use. */
  #idled = false
  #closing: { readonly drainMs: number } | undefined

  constructor(parts: LoopParts, record: ServiceRecord, namespace: string, after: Promise<void>) {
    const { clock, random, bounds, registry } = parts
    this.#parts = parts
    this.id = record.id
    this.#record = record
    this.#namespace = namespace
    this.#generation = generationKey(record.manifest)
    this.#log = parts.telemetry.logOf(record.id)
    this.#failures = new FailureCount(clock, random, bounds)
    this.#book = new InterfaceBook(record, {
      id: record.id,
      registry,
      clock,
      learned: (told) => {
        const { message, data } = changeReport(told)
        this.#event("service.interface_refreshed", "info", message, data)
      },
      unsaved: (message) => this.#log.write("runtime", `its interface is not stored: ${message}`),
    })
    const open = (key: InstanceKey) => this.#openKeyed(key)
    this.#pool = new Pool({ clock, random, bounds, open, full: (count) => this.#serving.full(count) })
    this.#refresher = new Refresher(parts, {
      refresh: (instance) => this.#refresh(instance),
      failed: (instance, error) => this.#unwell(instance, error),
    })
    this.#serving = new Serving(this.#served(), this.#waiters, this.#pool, parts)
    this.view = this.#freshView()
    this.ended = this.#run(after)
  }

  /** The registry says something new of this service. */
  update(record: ServiceRecord, namespace: string): void {
    const before = this.#record
    this.#record = record
    this.#namespace = namespace
    if (record.quarantine !== undefined) this.#ownQuarantine = undefined
    if (before.quarantine !== undefined && record.quarantine === undefined) this.#pardon()
    if (before.manifest !== record.manifest) this.#manifestChanged()
    this.#changed()
  }

  /** Quarantine is lifted, also one the registry never heard of. */
  pardon(): void {
    if (this.#ownQuarantine === undefined) return
    this.#pardon()
    this.#changed()
  }

  #pardon(): void {
    this.#ownQuarantine = undefined
    this.#failures.clear()
    this.#failure = undefined
    this.#event("service.unquarantined", "info", "quarantine is lifted")
  }

  #manifestChanged(): void {
    const generation = generationKey(this.#record.manifest)
    const replaced = generation !== this.#generation
    this.#event("service.manifest_applied", "info", "its manifest changed", { newGeneration: replaced })
    if (!replaced) return
    this.#generation = generation
    this.#failure = undefined
    this.#book.protocol = undefined
    this.#attempt?.abort.abort()
    this.#retireAll(this.#parts.bounds.drainMs, "its manifest changed")
  }

  /** Retires everything; resolves when all is gone. */
  close(drainMs: number): Promise<void> {
    this.#closing = { drainMs }
    for (const instance of this.#draining) instance.retire(drainMs)
    const wanted = this.wanted
    if (wanted.level !== "running") this.#rest(wanted)
    this.#changed()
    return this.ended
  }

  /** Resolves when nothing of a closed service is left but calls under way. */
  quiet(): Promise<void> {
    const busy = () => this.#attempt !== undefined || [...this.#draining].some((instance) => instance.leases === 0)
    return this.#waiters.until(() => (busy() ? undefined : { value: undefined }))
  }

  /** Resolves when the registry has answered everything it was told of this service. */
  async written(): Promise<void> {
    await Promise.all(this.#writing)
  }

  get namespace(): string {
    return this.#namespace
  }

  get desired(): "running" | "stopped" {
    return desiredOf(this.#record)
  }

  async #run(after: Promise<void>): Promise<void> {
    await after
    for (;;) {
      const woken = this.#wake.next()
      let waitMs: number
      try {
        waitMs = this.#step()
      } catch (error) {
        this.#event("service.supervision_failed", "error", "the supervisor failed on this service and goes on")
        this.#log.write("runtime", `supervision failed: ${String(error).slice(0, 500)}`)
        waitMs = 1_000
      }
      if (this.#closing !== undefined && !this.#busy()) break
      if (waitMs === Infinity) await woken
      else {
        const sleep = new AbortController()
        await Promise.race([woken, this.#parts.clock.sleep(waitMs, sleep.signal)])
        sleep.abort()
      }
    }
    await this.written()
  }

  /** Looks at everything and takes one step. Returns for how long there is nothing to do unless something happens. */
  #step(): number {
    const wanted = this.wanted
    if (wanted.level !== "running") return this.#rest(wanted)
    if (this.#lifecycle === "QUARANTINED") this.#move("REGISTERED", { health: "UNKNOWN" })
    if (this.#attempt !== undefined || this.#main !== undefined) return Infinity
    // What nobody uses any more ends before its successor begins: ports and locks are free again.
    for (const old of this.#draining) if (old.isolationKey === "shared" && old.leases === 0) return Infinity
    if (this.#failure !== undefined) {
      const waitMs = this.#dueAt() - this.#parts.clock.monotonic()
      if (waitMs > 0) return waitMs
    }
    if (this.#demanded()) this.#begin()
    else if (this.#failure === undefined)
      this.#move("REGISTERED", { health: "UNKNOWN", reason: "it starts with its next call" })
    return Infinity
  }

  /** Not wanted: everything goes. */
  #rest(wanted: Exclude<Wanted, { level: "running" }>): number {
    const { reason, hint } = wanted
    const before = this.#lifecycle
    this.#attempt?.abort.abort()
    this.#retireAll(this.#closing?.drainMs ?? this.#parts.bounds.drainMs, reason)
    this.#failure = undefined
    this.#kicked = false
    this.#idled = false
    if (wanted.level === "quarantined") this.#move("QUARANTINED", { health: this.#condition.health, reason, hint })
    else if (this.#busy()) this.#move("STOPPING", { health: "UNKNOWN", reason, hint })
    else {
      this.#move("STOPPED", { health: "UNKNOWN", reason, hint })
      if (!["STOPPED", "REGISTERED", "QUARANTINED"].includes(before)) this.#event("service.stopped", "info", reason)
    }
    return Infinity
  }

  get wanted(): Wanted {
    if (this.#closing !== undefined) return { level: "stopped", reason: "it is going away", hint: "try again later" }
    return wantedOf(this.#ownQuarantine ? { ...this.#record, quarantine: this.#ownQuarantine } : this.#record)
  }

  #busy(): boolean {
    return this.#attempt !== undefined || this.#draining.size > 0 || this.#pool.size > 0
  }

  /** Somebody needs the service to run now. A lazy one never seen before runs once, so that its tools can be listed. */
  #demanded(): boolean {
    if (this.#waiting > 0 || this.#kicked) return true
    if (this.#idled) return false
    return !this.#isLazy() || this.#book.face === undefined
  }

  #dueAt(): number {
    const failure = this.#failure
    if (failure === undefined || failure.rest) return Infinity
    const hurried = this.#waiting > 0 && this.#isRemote()
    return failure.at + (hurried ? Math.min(failure.delayMs, this.#parts.bounds.demandCapMs) : failure.delayMs)
  }

  #isRemote(): boolean {
    return this.#record.manifest.spec.origin.type === "remote_mcp"
  }

  #isLazy(): boolean {
    return this.#record.manifest.spec.start === "lazy"
  }

  #begin(): void {
    const attempt: Attempt = {
      abort: new AbortController(),
      ticket: this.#parts.gate.enter(this.#waiting > 0 || this.#kicked),
    }
    this.#attempt = attempt
    this.#idled = false
    this.#move("STARTING", this.#failure === undefined ? { health: "UNKNOWN" } : this.#condition)
    void this.#start(attempt)
  }

  async #start(attempt: Attempt): Promise<void> {
    const { signal } = attempt.abort
    let instance: Instance | undefined
    try {
      await raced(attempt.ticket.ready, signal)
      const begun = this.#parts.clock.monotonic()
      const limit = this.#startLimit(signal)
      try {
        instance = await this.#open(sharedKey, limit)
        const face = await raced(instance.backend.describe(limit.signal), limit.signal)
        if (signal.aborted || !instance.usable) throw abortError(limit.signal)
        this.#started(instance, face, this.#parts.clock.monotonic() - begun)
      } finally {
        limit.end()
      }
    } catch (thrown) {
      if (instance !== undefined) this.#drain(instance, 0)
      if (!signal.aborted)
        this.#startFailed(asClarityError(thrown, "its start failed; the daemon's log has the details"))
    } finally {
      attempt.ticket.leave()
      this.#attempt = undefined
      this.#changed()
    }
  }

  #startLimit(parent: AbortSignal): Deadline {
    const { clock, bounds } = this.#parts
    return deadline(clock, bounds.startMs, parent, () => {
      return new ClarityError("upstream_timeout", `it did not come up within ${bounds.startMs / 1000} s`)
    })
  }

  /** Opens an instance and tends it. Its death ends the limit, so that nobody waits for an answer of the dead. */
  async #open(key: InstanceKey, limit: Deadline): Promise<Instance> {
    const { clock, random, bounds, credentials, factories } = this.#parts
    const log = this.#log
    const verdict = this.#book.protocol
    const remembered = verdict !== undefined && clock.now() - verdict.checkedAt < bounds.verdictMs ? verdict : undefined
    const definition = { id: this.id, namespace: this.#namespace, manifest: this.#record.manifest }
    const { isolationKey } = key
    const services = { clock, log, credentials, isolationKey, ...(remembered ? { remembered } : {}) }
    const backend = await openBackend(factories, definition, services, limit.signal, bounds.disposeMs)
    const broken = (found: Instance) => this.#lost(found, "a call found it unusable", true)
    const instance = createInstance(backend, isolationKey, { clock, log, disposeMs: bounds.disposeMs, broken })
    const own = key === sharedKey
    tend(
      instance,
      own,
      { clock, random, bounds, log },
      {
        lists: () => this.#refresher.soon(instance),
        exit: (reason) => {
          const ended = `it ended: ${reason.slice(0, 300)}`
          limit.abort(new ClarityError("unavailable", ended))
          this.#lost(instance, ended, false)
        },
        well: () => this.#well(instance),
        unwell: (error, inARow) => this.#probeFailed(instance, error, inARow),
        rules: () => recycleRules(this.#record.manifest, !own || this.#isLazy(), bounds.idleMs),
        busy: () => own && this.#pool.size > 0,
        recycle: (why) => this.recycle(instance, why),
      },
    )
    return instance
  }

  async #openKeyed(key: InstanceKey): Promise<Instance> {
    const generation = this.#generation
    const limit = this.#startLimit(new AbortController().signal)
    try {
      const instance = await this.#open(key, limit)
      const wanted = this.wanted.level === "running"
      if (!wanted || generation !== this.#generation) this.#drain(instance, 0)
      if (!wanted) throw this.#serving.refused(false)
      return instance
    } finally {
      limit.end()
      // The pool takes note first.
      queueMicrotask(() => this.#changed())
    }
  }

  #started(instance: Instance, face: Interface, tookMs: number): void {
    this.#main = instance
    this.#failure = undefined
    this.#awaySince = undefined
    this.#kicked = false
    this.#write(this.#book.learn(face).saved)
    this.#move("RUNNING", wellCondition(face))
    const data = { tookMs: Math.round(tookMs), revision: this.#book.revision, tools: face.tools.length }
    this.#event("service.started", "info", "running", data)
  }

  #startFailed(error: ClarityError): void {
    this.#failedAttempts += 1
    this.#kicked = false
    this.#failed("service.start_failed", error, false)
  }

  #failed(kind: "service.start_failed" | "service.crashed", error: ClarityError, again: boolean): void {
    const { origin, restartPolicy } = this.#record.manifest.spec
    // A remote that is away harms nothing here, and a laptop that was offline must not need a person afterwards.
    const verdict = this.#failures.note(restartPolicy, !this.#isRemote())
    const rest = verdict.then === "rest" || error instanceof UnknownOrigin
    const delayMs = again && this.#failures.inARow === 1 ? 0 : verdict.delayMs
    const at = this.#parts.clock.monotonic()
    this.#awaySince ??= at
    this.#failure = { error, at, delayMs, rest }
    const retry = rest ? {} : { retryAfterMs: Math.round(delayMs) }
    this.#event(kind, "warn", error.message, { code: error.code, failures: this.#failures.inARow, ...retry })
    this.#move("CRASHED", conditionOf(error, origin.type))
    if (verdict.then !== "quarantine" || rest) return
    const { maxRestarts, windowSeconds } = restartPolicy
    const reason = `${maxRestarts} failures within ${windowSeconds} s; the last: ${error.message.slice(0, 300)}`
    this.#quarantine(reason)
  }

  #quarantine(reason: string): void {
    const quarantine = { reason, since: this.#parts.clock.now() }
    this.#ownQuarantine = quarantine
    this.#event("service.quarantined", "error", reason)
    this.#rest({ level: "quarantined", reason, hint: "mend the cause, then unquarantine the service" })
    const told = this.#parts.registry.patch(this.id, { quarantine }).then(
      () => undefined,
      (error: unknown) => this.#log.write("runtime", `its quarantine is not stored: ${asClarityError(error).message}`),
    )
    this.#write(told)
  }

  /** An instance died or was found useless by a call. */
  #lost(instance: Instance, reason: string, byCall: boolean): void {
    const own = instance === this.#main
    this.#drain(instance, this.#parts.bounds.drainMs)
    if (own) {
      this.#main = undefined
      if (this.#parts.clock.monotonic() - instance.openedAt >= this.#parts.bounds.goodMs) this.#failures.clear()
      this.#restartCount += 1
      this.#failed("service.crashed", new ClarityError("unavailable", reason), byCall)
    } else if (instance.isolationKey !== "shared") this.#log.write("runtime", `an instance of one caller: ${reason}`)
    this.#changed()
  }

  #probeFailed(instance: Instance, error: ClarityError, inARow: number): void {
    this.#unwell(instance, error)
    // A local program that hangs with nothing to do will not come back by itself.
    if (instance === this.#main && inARow >= 3 && !this.#isRemote() && instance.leases === 0)
      this.#lost(instance, `it hangs: ${error.message}`, false)
  }

  #unwell(instance: Instance, error: ClarityError): void {
    if (instance === this.#main) this.#move(this.#lifecycle, conditionOf(error, this.#record.manifest.spec.origin.type))
  }

  /** It answers. What it offers may have changed while it did not. */
  #well(instance: Instance): void {
    if (instance !== this.#main || this.#book.face === undefined) return
    const condition = wellCondition(this.#book.face)
    if (condition.health !== this.#condition.health) this.#refresher.soon(instance)
    this.#move(this.#lifecycle, condition)
  }

  #retireAll(drainMs: number, reason: string): void {
    this.#pool.instances().forEach((instance) => this.#drain(instance, drainMs))
    this.#pool.forget()
    if (this.#main === undefined) return
    const old = this.#main
    this.#main = undefined
    this.#drain(old, drainMs)
    this.#move("STOPPING", { health: "UNKNOWN", reason })
  }

  #drain(instance: Instance, drainMs: number): void {
    instance.retire(drainMs)
    if (this.#draining.has(instance)) return
    this.#draining.add(instance)
    void this.#forgetWhenGone(instance)
  }

  async #forgetWhenGone(instance: Instance): Promise<void> {
    await instance.gone
    this.#draining.delete(instance)
    this.#changed()
  }

  /** Stops an instance that has had its time; it comes back when it is wanted. */
  recycle(instance: Instance, why: RecycleReason): void {
    const own = instance === this.#main
    this.#event("service.recycled", "info", recycleWords[why], { reason: why, shared: own })
    if (own) {
      this.#main = undefined
      this.#idled = why === "idle" || why === "budget"
      this.#move("STOPPING", { health: "UNKNOWN", reason: recycleWords[why] })
    }
    this.#drain(instance, this.#parts.bounds.recycleDrainMs)
    this.#changed()
  }

  /** Everything open, and what of it comes back on use. */
  instances(): { readonly all: readonly Instance[]; readonly spare: readonly Instance[] } {
    const keyed = this.#pool.instances()
    const all = this.#main === undefined ? keyed : [this.#main, ...keyed]
    return { all, spare: this.#isLazy() ? all : keyed }
  }

  acquire(context: AcquireContext): Promise<Lease> {
    return this.#serving.acquire(context)
  }

  #served(): Served {
    const loop = () => this
    return {
      get view() {
        return loop().view
      },
      get main() {
        return loop().#main
      },
      get wanted() {
        return loop().wanted
      },
      get starting() {
        return loop().#attempt !== undefined
      },
      get failure() {
        return loop().#failure
      },
      get dueAt() {
        return loop().#dueAt()
      },
      get failedAttempts() {
        return loop().#failedAttempts
      },
      get awaySince() {
        return loop().#awaySince
      },
      waiting: (count) => {
        this.#waiting += count
        if (count > 0) this.#attempt?.ticket.hurry()
        this.#wake.call()
      },
      used: () => {
        if (this.#main !== undefined || this.#attempt !== undefined || this.#failure !== undefined) return
        this.#kicked = true
        this.#wake.call()
      },
    }
  }

  /** Tries now, whatever the back-off; resolves when running, failed, or not wanted any more. */
  async bringUp(): Promise<void> {
    const before = this.#failedAttempts
    this.#failures.pardon()
    if (this.#main === undefined) {
      this.#kicked = true
      if (this.#attempt === undefined) this.#failure = undefined
      this.#attempt?.ticket.hurry()
    }
    this.#changed()
    const settled = () => this.#main?.usable || this.#failedAttempts > before || this.wanted.level !== "running"
    await this.#waiters.until(() => (settled() ? { value: undefined } : undefined))
  }

  /** Resolves when nothing of it runs any more, or somebody wants it again. */
  async settleStopped(): Promise<void> {
    const settled = () => {
      if (this.wanted.level === "running") return true
      return !this.#busy() && (this.#lifecycle === "STOPPED" || this.#lifecycle === "QUARANTINED")
    }
    await this.#waiters.until(() => (settled() ? { value: undefined } : undefined))
  }

  async restart(): Promise<void> {
    this.#restartCount += 1
    this.#event("service.restarted", "info", "restarted by an operator")
    this.#retireAll(this.#parts.bounds.drainMs, "restarted by an operator")
    await this.bringUp()
  }

  async introspect(): Promise<Introspection> {
    const main = await this.#serving.withMain(new AbortController().signal, (running) => running)
    try {
      const told = await this.#refresh(main)
      this.#well(main)
      return told
    } catch (thrown) {
      const error = asClarityError(thrown)
      this.#unwell(main, error)
      throw unavailable({ ...this.view, reason: error.message }, { retryable: error.entry.retryable })
    }
  }

  async #refresh(instance: Instance): Promise<Introspection> {
    const limit = this.#startLimit(instance.over)
    try {
      const told = await this.#book.refresh(instance.backend, limit.signal)
      instance.alive()
      return told
    } finally {
      limit.end()
      this.#changed()
    }
  }

  status(): ServiceStatus {
    return statusOf(this.#parts.clock, {
      view: this.view,
      record: this.#record,
      main: this.#main,
      keyed: this.#pool.size,
      restartCount: this.#restartCount,
      dueAt: this.#attempt === undefined ? this.#dueAt() : Infinity,
    })
  }

  #write(promise: Promise<void>): void {
    this.#writing.add(promise)
    void promise.finally(() => this.#writing.delete(promise))
  }

  #move(to: Lifecycle, condition: Condition): void {
    const from = this.#lifecycle
    if (from === to && sameCondition(condition, this.#condition)) return
    if (from !== to && !mayMove(from, to))
      this.#event("service.illegal_transition", "error", `${from} to ${to}: a fault of the runtime itself`)
    this.#lifecycle = to
    this.#condition = condition
    this.#changed()
  }

  /** Something is different: the loop looks again, and so does everybody who waits. */
  #changed(): void {
    this.#wake.call()
    const view = keepView(this.view, this.#freshView())
    if (view !== this.view) {
      this.view = view
      this.#parts.changed()
    }
    this.#waiters.tell()
  }

  #freshView(): ServiceView {
    const { face, revision, introspectedAt } = this.#book
    return {
      id: this.id,
      namespace: this.#namespace,
      manifest: this.#record.manifest,
      lifecycle: this.#lifecycle,
      ...this.#condition,
      ...(face === undefined ? {} : { interface: face }),
      ...(revision === undefined ? {} : { revision }),
      ...(introspectedAt === undefined ? {} : { introspectedAt }),
      stale: this.#main === undefined,
      listed: this.wanted.level === "running",
    }
  }

  #event(kind: string, level: Level, message: string, data?: JsonObject): void {
    this.#log.write("runtime", `${kind}: ${message}`)
    this.#parts.telemetry.record({ kind, level, message, serviceId: this.id, ...(data === undefined ? {} : { data }) })
  }
}
