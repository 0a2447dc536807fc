import type {
  BackendServices,
  Clock,
  Credentials,
  JsonObject,
  Level,
  Lifecycle,
  Registry,
  ServiceLog,
  ServiceRecord,
  ServiceView,
  Telemetry,
} from "@clarity-runtime/contracts"
import { FailureCount, type Failure } from "./backoff.ts"
import { generationKey, wantedOf, type Wanted } from "./desired.ts"
import { sameCondition, type Condition } from "./health.ts"
import type { Instance } from "./instances.ts"
import { changeReport, InterfaceBook } from "./interface-book.ts"
import type { Factories } from "./opening.ts"
import type { Bounds } from "./options.ts"
import { keepView } from "./snapshot.ts"
import type { StartGate, StartTicket } from "./start-gate.ts"
import { mayMove } from "./transitions.ts"
import { Waiters, Wake } from "./waiters.ts"

/** What the services of one supervisor share. */
export interface SharedParts {
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

/** A start under way. */
export interface Attempt {
  readonly abort: AbortController
  readonly ticket: StartTicket
}

/** All that is known of one service, and the telling of it. Decides nothing: that is the loop's. */
export class ServiceState {
  readonly id: string
  readonly parts: SharedParts
  readonly log: ServiceLog
  readonly book: InterfaceBook
  readonly failures: FailureCount
  readonly wake = new Wake()
  readonly waiters = new Waiters()
  /** Retired and not gone yet. */
  readonly draining = new Set<Instance>()
  readonly #writing = new Set<Promise<void>>()
  record: ServiceRecord
  namespace: string
  /** What instances are made from now; see `generationKey`. */
  generation: string
  view: ServiceView
  /** The service's own instance: the shared one, or the one that is only asked and listened to. */
  main: Instance | undefined
  attempt: Attempt | undefined
  failure: Failure | undefined
  /** A quarantine the registry has not confirmed yet. */
  ownQuarantine: { readonly reason: string; readonly since: number } | undefined
  /** Monotonic time since when it is down. */
  awaySince: number | undefined
  /** Attempts that failed so far. */
  failedAttempts = 0
  restartCount = 0
  /** Calls that wait for the service's own instance. */
  waiting = 0
  /** Somebody asked for it to run now. */
  kicked = false
  /** Stopped for want of use. */
  idled = false
  closing: { readonly drainMs: number } | undefined
  #lifecycle: Lifecycle = "REGISTERED"
  #condition: Condition = { health: "UNKNOWN" }

  constructor(parts: SharedParts, record: ServiceRecord, namespace: string) {
    const { clock, random, bounds, registry } = parts
    this.parts = parts
    this.id = record.id
    this.record = record
    this.namespace = namespace
    this.generation = generationKey(record.manifest)
    this.log = parts.telemetry.logOf(record.id)
    this.failures = new FailureCount(clock, random, bounds)
    this.book = new InterfaceBook(record, {
      id: record.id,
      registry,
      clock,
      learned: (told) => {
        const { message, data } = changeReport(told)
        this.event("service.interface_refreshed", "info", message, data)
      },
      unsaved: (message) => this.log.write("runtime", `its interface is not stored: ${message}`),
      writing: (write) => this.write(write),
    })
    this.view = this.#freshView()
  }

  get lifecycle(): Lifecycle {
    return this.#lifecycle
  }

  get condition(): Condition {
    return this.#condition
  }

  get wanted(): Wanted {
    if (this.closing !== undefined) return { level: "stopped", reason: "it is going away", hint: "try again later" }
    return wantedOf(this.ownQuarantine ? { ...this.record, quarantine: this.ownQuarantine } : this.record)
  }

  /** Somebody needs it to run now. A lazy service never seen before runs once, so that its tools can be listed. */
  get demanded(): boolean {
    if (this.waiting > 0 || this.kicked) return true
    if (this.idled) return false
    return !this.isLazy || this.book.face === undefined
  }

  /** Monotonic time of the next attempt; Infinity for none. A call that waits hurries a remote one. */
  get dueAt(): number {
    const { failure } = this
    if (failure === undefined || failure.rest) return Infinity
    const hurried = this.waiting > 0 && this.isRemote
    return failure.at + (hurried ? Math.min(failure.delayMs, this.parts.bounds.demandCapMs) : failure.delayMs)
  }

  get isRemote(): boolean {
    return this.record.manifest.spec.origin.type === "remote_mcp"
  }

  get isLazy(): boolean {
    return this.record.manifest.spec.start === "lazy"
  }

  /** What a factory is given for an instance under that key. */
  servicesFor(isolationKey: string): BackendServices {
    const { clock, credentials, bounds } = this.parts
    const verdict = this.book.protocol
    const believed = verdict !== undefined && clock.now() - verdict.checkedAt < bounds.verdictMs
    return { clock, credentials, log: this.log, isolationKey, ...(believed ? { remembered: verdict } : {}) }
  }

  /** Ends an instance once its leases have ended; it counts as draining until it is gone. */
  drain(instance: Instance, drainMs: number): void {
    instance.retire(drainMs)
    if (this.draining.has(instance)) return
    this.draining.add(instance)
    void this.#forgetWhenGone(instance)
  }

  async #forgetWhenGone(instance: Instance): Promise<void> {
    await instance.gone
    this.draining.delete(instance)
    this.changed()
  }

  /** Something is being written to the registry; it must not reject. */
  write(promise: Promise<void>): void {
    this.#writing.add(promise)
    void promise.finally(() => this.#writing.delete(promise))
  }

  async written(): Promise<void> {
    await Promise.all(this.#writing)
  }

  move(to: Lifecycle, condition: Condition): void {
    const from = this.#lifecycle
    if (from === to && sameCondition(condition, this.#condition)) return
    if (from !== to && !mayMove(from, to))
      this.event("service.illegal_transition", "error", `${from} to ${to}: a fault of the runtime itself`)
    this.#lifecycle = to
    this.#condition = condition
    this.changed()
  }

  /** Something is different: the loop looks again, and so does everybody who waits. */
  changed(): void {
    this.wake.call()
    const view = keepView(this.view, this.#freshView())
    if (view !== this.view) {
      this.view = view
      this.parts.changed()
    }
    this.waiters.tell()
  }

  event(kind: string, level: Level, message: string, data?: JsonObject): void {
    this.log.write("runtime", `${kind}: ${message}`)
    this.parts.telemetry.record({ kind, level, message, serviceId: this.id, ...(data === undefined ? {} : { data }) })
  }

  #freshView(): ServiceView {
    const { face, revision, introspectedAt } = this.book
    return {
      id: this.id,
      namespace: this.namespace,
      manifest: this.record.manifest,
      lifecycle: this.#lifecycle,
      ...this.#condition,
      ...(face === undefined ? {} : { interface: face }),
      ...(revision === undefined ? {} : { revision }),
      ...(introspectedAt === undefined ? {} : { introspectedAt }),
      stale: this.main === undefined,
      listed: this.wanted.level === "running",
    }
  }
}
