import {
  asClarityError,
  ClarityError,
  type AcquireContext,
  type Interface,
  type Introspection,
  type Lease,
  type ServiceRecord,
  type ServiceStatus,
} from "@clarity-runtime/contracts"
import { generationKey, wantedOf, type Wanted } from "./desired.ts"
import { conditionOf, unavailable, wellCondition } from "./health.ts"
import { sharedKey, type Instance, type InstanceKey } from "./instances.ts"
import { UnknownOrigin } from "./opening.ts"
import { Pool } from "./pool.ts"
import { recycleRules, recycleWords, type RecycleReason } from "./recycle.ts"
import { Refresher } from "./refresher.ts"
import { Serving } from "./serving.ts"
import { openInstance, startLimit, startOwn, type Starts } from "./starting.ts"
import { ServiceState, type SharedParts } from "./state.ts"
import { statusOf } from "./status.ts"
import type { Owner } from "./tending.ts"

/**
 * Keeps one service as it is wanted. Level-based: everything that happens only changes the state and wakes the loop,
 * which then looks at all of it and takes the one next step. Nothing in `#step` waits.
 */
export class ServiceLoop {
  readonly state: ServiceState
  /** Resolves when the loop was closed and nothing of the service is left. */
  readonly ended: Promise<void>
  readonly #pool: Pool
  readonly #refresher: Refresher
  readonly #serving: Serving
  /** Aborted when callers' own instances that are still opening are not wanted any more. */
  #openings = new AbortController()
  readonly #starts: Starts = {
    started: (instance, face, tookMs) => this.#started(instance, face, tookMs),
    failed: (error) => this.#startFailed(error),
    broken: (instance) => this.#lost(instance, "a call found it unusable", true),
    ownerOf: (instance) => this.#ownerOf(instance),
  }

  /** Nothing is begun before `after`: what an earlier service of this id still has to end. */
  constructor(parts: SharedParts, record: ServiceRecord, namespace: string, after: Promise<void>) {
    const { clock, random, bounds } = parts
    this.state = new ServiceState(parts, record, namespace)
    const open = (key: InstanceKey) => this.#openKeyed(key)
    const retire = (instance: Instance) => this.state.drain(instance, 0)
    this.#pool = new Pool({ clock, random, bounds, open, retire, full: (count) => this.#serving.full(count) })
    this.#refresher = new Refresher(parts, {
      refresh: (instance) => this.#refresh(instance),
      failed: (instance, error) => this.#unwell(instance, error),
    })
    this.#serving = new Serving(this.state, this.#pool)
    this.ended = this.#run(after)
  }

  /** The registry says something new of this service. */
  update(record: ServiceRecord, namespace: string): void {
    const { state } = this
    const before = state.record
    state.record = record
    state.namespace = namespace
    if (record.quarantine !== undefined) state.ownQuarantine = undefined
    if (before.quarantine !== undefined && record.quarantine === undefined) this.#pardoned()
    if (before.manifest !== record.manifest) this.#manifestChanged()
    state.changed()
  }

  /** Quarantine is lifted, also one the registry never heard of. */
  pardon(): void {
    if (this.state.ownQuarantine === undefined) return
    this.#pardoned()
    this.state.changed()
  }

  #pardoned(): void {
    this.state.ownQuarantine = undefined
    this.state.failures.clear()
    this.state.failure = undefined
    this.state.event("service.unquarantined", "info", "quarantine is lifted")
  }

  #manifestChanged(): void {
    const { state } = this
    const generation = generationKey(state.record.manifest)
    const newGeneration = generation !== state.generation
    state.event("service.manifest_applied", "info", "its manifest changed", { newGeneration })
    if (!newGeneration) return
    state.generation = generation
    state.failure = undefined
    state.book.protocol = undefined
    state.attempt?.abort.abort()
    this.#retireAll(state.parts.bounds.drainMs, "its manifest changed")
  }

  /** Retires everything; resolves when all is gone. */
  close(drainMs: number): Promise<void> {
    this.state.closing = { drainMs }
    for (const instance of this.state.draining) instance.retire(drainMs)
    const { wanted } = this.state
    if (wanted.level !== "running") this.#rest(wanted)
    this.state.changed()
    return this.ended
  }

  /** Resolves when nothing of a closed service is left but calls under way. */
  quiet(): Promise<void> {
    const { state } = this
    const busy = () => state.attempt !== undefined || [...state.draining].some((instance) => instance.leases === 0)
    return state.waiters.until(() => (busy() ? undefined : { value: undefined }))
  }

  async #run(after: Promise<void>): Promise<void> {
    const { state } = this
    await after
    for (;;) {
      const woken = state.wake.next()
      let waitMs: number
      try {
        waitMs = this.#step()
      } catch (error) {
        state.event("service.supervision_failed", "error", "the supervisor failed on this service and goes on")
        state.log.write("runtime", `supervision failed: ${String(error).slice(0, 500)}`)
        waitMs = 1_000
      }
      if (state.closing !== undefined && !this.#busy()) break
      if (waitMs === Infinity) await woken
      else {
        const sleep = new AbortController()
        await Promise.race([woken, state.parts.clock.sleep(waitMs, sleep.signal)])
        sleep.abort()
      }
    }
    await state.written()
  }

  /** Looks at everything and takes one step. Returns for how long there is nothing to do unless something happens. */
  #step(): number {
    const { state } = this
    const { wanted } = state
    if (wanted.level !== "running") return this.#rest(wanted)
    if (state.lifecycle === "QUARANTINED") state.move("REGISTERED", { health: "UNKNOWN" })
    if (state.attempt !== undefined || state.main !== undefined) return Infinity
    // What nobody uses any more ends before its successor begins: ports and locks are free again.
    for (const old of state.draining) if (old.key === sharedKey && old.leases === 0) return Infinity
    if (state.failure !== undefined) {
      const waitMs = state.dueAt - state.parts.clock.monotonic()
      if (waitMs > 0) return waitMs
    }
    if (state.demanded) {
      state.idled = false
      void startOwn(state, this.#starts)
    } else if (state.failure === undefined)
      state.move("REGISTERED", { health: "UNKNOWN", reason: "it starts with its next call" })
    return Infinity
  }

  /** Not wanted: everything goes. */
  #rest(wanted: Exclude<Wanted, { level: "running" }>): number {
    const { state } = this
    const { reason, hint } = wanted
    const before = state.lifecycle
    state.attempt?.abort.abort()
    this.#openings.abort()
    this.#openings = new AbortController()
    this.#retireAll(state.closing?.drainMs ?? state.parts.bounds.drainMs, reason)
    state.failure = undefined
    state.kicked = false
    state.idled = false
    if (wanted.level === "quarantined") state.move("QUARANTINED", { health: state.condition.health, reason, hint })
    else if (this.#busy()) state.move("STOPPING", { health: "UNKNOWN", reason, hint })
    else {
      state.move("STOPPED", { health: "UNKNOWN", reason, hint })
      if (!["STOPPED", "REGISTERED", "QUARANTINED"].includes(before)) state.event("service.stopped", "info", reason)
    }
    return Infinity
  }

  #busy(): boolean {
    return this.state.attempt !== undefined || this.state.draining.size > 0 || this.#pool.size > 0
  }

  #ownerOf(instance: Instance): Owner {
    const { state } = this
    const own = instance.key === sharedKey
    return {
      lists: () => this.#refresher.soon(instance),
      exit: (reason) => this.#lost(instance, `it ended: ${reason.slice(0, 300)}`, false),
      well: () => this.#well(instance),
      unwell: (error, inARow) => this.#probeFailed(instance, error, inARow),
      rules: () => recycleRules(state.record.manifest, !own || state.isLazy, state.parts.bounds.idleMs),
      busy: () => own && this.#pool.size > 0,
      recycle: (why) => this.recycle(instance, why),
    }
  }

  async #openKeyed(key: InstanceKey): Promise<Instance> {
    const { state } = this
    const { generation } = state
    const limit = startLimit(state, this.#openings.signal)
    try {
      const instance = await openInstance(state, key, limit, this.#starts)
      if (state.wanted.level !== "running" || generation !== state.generation) state.drain(instance, 0)
      return instance
    } catch (thrown) {
      throw state.wanted.level === "running" ? thrown : this.#serving.refused(false)
    } finally {
      limit.end()
      // The pool takes note first.
      queueMicrotask(() => state.changed())
    }
  }

  #started(instance: Instance, face: Interface, tookMs: number): void {
    const { state } = this
    state.book.learn(face)
    state.main = instance
    state.failure = undefined
    state.awaySince = undefined
    state.kicked = false
    state.move("RUNNING", wellCondition(face))
    const data = { tookMs: Math.round(tookMs), revision: state.book.revision, tools: face.tools.length }
    state.event("service.started", "info", "running", data)
  }

  #startFailed(error: ClarityError): void {
    this.state.failedAttempts += 1
    this.state.kicked = false
    this.#failed("service.start_failed", error, false)
  }

  #failed(kind: "service.start_failed" | "service.crashed", error: ClarityError, again: boolean): void {
    const { state } = this
    const { origin, restartPolicy } = state.record.manifest.spec
    // A remote that is away harms nothing here, and a laptop that was offline must not need a person afterwards.
    const verdict = state.failures.note(restartPolicy, !state.isRemote)
    const rest = verdict.then === "rest" || error instanceof UnknownOrigin
    const delayMs = again && state.failures.inARow === 1 ? 0 : verdict.delayMs
    const at = state.parts.clock.monotonic()
    state.awaySince ??= at
    state.failure = { error, at, delayMs, rest }
    const retry = rest ? {} : { retryAfterMs: Math.round(delayMs) }
    state.event(kind, "warn", error.message, { code: error.code, failures: state.failures.inARow, ...retry })
    state.move("CRASHED", conditionOf(error, origin.type))
    if (verdict.then !== "quarantine" || rest) return
    const { maxRestarts, windowSeconds } = restartPolicy
    this.#quarantine(`${maxRestarts} failures within ${windowSeconds} s; the last: ${error.message.slice(0, 300)}`)
  }

  #quarantine(reason: string): void {
    const { state } = this
    const quarantine = { reason, since: state.parts.clock.now() }
    state.ownQuarantine = quarantine
    state.event("service.quarantined", "error", reason)
    const wanted = wantedOf({ ...state.record, quarantine })
    if (wanted.level !== "running") this.#rest(wanted)
    const told = state.parts.registry.patch(state.id, { quarantine }).then(
      () => undefined,
      (error: unknown) => state.log.write("runtime", `its quarantine is not stored: ${asClarityError(error).message}`),
    )
    state.write(told)
  }

  /** An instance died or was found useless by a call. */
  #lost(instance: Instance, reason: string, byCall: boolean): void {
    const { state } = this
    state.drain(instance, state.parts.bounds.drainMs)
    if (instance === state.main) {
      state.main = undefined
      if (state.parts.clock.monotonic() - instance.openedAt >= state.parts.bounds.goodMs) state.failures.clear()
      state.restartCount += 1
      this.#failed("service.crashed", new ClarityError("unavailable", reason), byCall)
    } else if (instance.key !== sharedKey) state.log.write("runtime", `an instance of one caller: ${reason}`)
    state.changed()
  }

  #probeFailed(instance: Instance, error: ClarityError, inARow: number): void {
    this.#unwell(instance, error)
    // A local program that hangs with nothing to do will not come back by itself.
    if (instance === this.state.main && inARow >= 3 && !this.state.isRemote && instance.leases === 0)
      this.#lost(instance, `it hangs: ${error.message}`, false)
  }

  #unwell(instance: Instance, error: ClarityError): void {
    const { state } = this
    if (instance === state.main) state.move(state.lifecycle, conditionOf(error, state.record.manifest.spec.origin.type))
  }

  /** It answers. What it offers may have changed while it did not. */
  #well(instance: Instance): void {
    const { state } = this
    if (instance !== state.main || state.book.face === undefined) return
    const condition = wellCondition(state.book.face)
    if (condition.health !== state.condition.health) this.#refresher.soon(instance)
    state.move(state.lifecycle, condition)
  }

  #retireAll(drainMs: number, reason: string): void {
    const { state } = this
    for (const instance of this.#pool.instances()) state.drain(instance, drainMs)
    this.#pool.forget()
    if (state.main === undefined) return
    const old = state.main
    state.main = undefined
    state.drain(old, drainMs)
    state.move("STOPPING", { health: "UNKNOWN", reason })
  }

  /** Stops an instance that has had its time; it comes back when it is wanted. */
  recycle(instance: Instance, why: RecycleReason): void {
    const { state } = this
    const own = instance === state.main
    state.event("service.recycled", "info", recycleWords[why], { reason: why, shared: own })
    state.drain(instance, state.parts.bounds.recycleDrainMs)
    if (own) {
      state.main = undefined
      state.idled = why === "idle" || why === "budget"
      state.move("STOPPING", { health: "UNKNOWN", reason: recycleWords[why] })
    }
    state.changed()
  }

  /** Everything open, and what of it comes back on use. */
  instances(): { readonly all: readonly Instance[]; readonly spare: readonly Instance[] } {
    const keyed = this.#pool.instances()
    const all = this.state.main === undefined ? keyed : [this.state.main, ...keyed]
    return { all, spare: this.state.isLazy ? all : keyed }
  }

  acquire(context: AcquireContext): Promise<Lease> {
    return this.#serving.acquire(context)
  }

  /** Tries now, whatever the back-off; resolves when running with its interface stored, failed, or not wanted any more. */
  async bringUp(): Promise<void> {
    const { state } = this
    const before = state.failedAttempts
    state.failures.pardon()
    if (state.main === undefined) {
      state.kicked = true
      if (state.attempt === undefined) state.failure = undefined
      state.attempt?.ticket.hurry()
    }
    state.changed()
    const settled = () => state.main?.usable || state.failedAttempts > before || state.wanted.level !== "running"
    await state.waiters.until(() => (settled() ? { value: undefined } : undefined))
    await state.book.stored
  }

  /** Resolves when nothing of it runs any more, or somebody wants it again. */
  async settleStopped(): Promise<void> {
    const { state } = this
    const settled = () => {
      if (state.wanted.level === "running") return true
      return !this.#busy() && (state.lifecycle === "STOPPED" || state.lifecycle === "QUARANTINED")
    }
    await state.waiters.until(() => (settled() ? { value: undefined } : undefined))
  }

  async restart(): Promise<void> {
    this.state.restartCount += 1
    this.state.event("service.restarted", "info", "restarted by an operator")
    this.#retireAll(this.state.parts.bounds.drainMs, "restarted by an operator")
    await this.bringUp()
  }

  async introspect(): Promise<Introspection> {
    const main = await this.#serving.withMain(new AbortController().signal, (running) => running)
    try {
      const told = await this.#refresh(main, true)
      this.#well(main)
      return told
    } catch (thrown) {
      const error = asClarityError(thrown)
      this.#unwell(main, error)
      throw unavailable({ ...this.state.view, reason: error.message }, { retryable: error.entry.retryable })
    }
  }

  async #refresh(instance: Instance, always = false): Promise<Introspection> {
    const limit = startLimit(this.state, instance.over)
    try {
      const told = await this.state.book.refresh(instance.backend, limit.signal, always)
      instance.alive()
      return told
    } finally {
      limit.end()
      this.state.changed()
    }
  }

  status(): ServiceStatus {
    return statusOf(this.state, this.#pool.size)
  }
}
