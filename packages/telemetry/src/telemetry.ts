import {
  createBroadcast,
  isJsonObject,
  systemClock,
  type Clock,
  type EventQuery,
  type JsonObject,
  type LogLine,
  type RecordedEvent,
  type ServiceLog,
  type Telemetry,
  type Timeline,
  type TimelineEvent,
} from "@clarity-runtime/contracts"
import { boundedCopy, costOf, type Budget } from "./bounded-copy.ts"
import { CallCounter, type CallStats } from "./call-stats.ts"
import { createCleanCheck } from "./clean-call.ts"
import { Delivery, type DeliveryState, type TelemetryItem, type TelemetrySink } from "./delivery.ts"
import { oneLine } from "./one-line.ts"
import { PackedRing } from "./packed-ring.ts"
import { logBounds, ServiceLogRing, type LogBounds } from "./service-log.ts"

export interface TelemetryOptions {
  /** Events kept in memory: half of them calls, half everything else. Default 20,000. */
  readonly capacity?: number
  /** Bytes kept in memory for events. Default 16 MiB. */
  readonly maxBytes?: number
  /** Bounds of one service's log. Default 2,000 lines of 8 KiB, 256 KiB in all. */
  readonly log?: Partial<LogBounds>
  /** False: only `mcp.tool_called` is recorded (CLARITY_AUDIT_INCLUDE_LIFECYCLE=0). Default true. */
  readonly includeLifecycle?: boolean
  /** Where records go besides memory; disposed together with the telemetry. */
  readonly sinks?: readonly TelemetrySink[]
  /** Events that were kept before, oldest first: numbers go on after them. */
  readonly history?: Iterable<RecordedEvent>
  readonly clock?: Clock
}

/** Both sides of the timeline, and the figures kept beside it. */
export interface RuntimeTelemetry extends Telemetry, Timeline, AsyncDisposable {
  /** Calls of one service; undefined when none was recorded. */
  stats(serviceId: string): CallStats | undefined
  /** How each sink keeps up. */
  deliveries(): readonly DeliveryState[]
}

const callKind = "mcp.tool_called"
const recordBytes = 16_384
const messageBytes = 4096
/** Room for the fixed parts of a record and the marks where something was cut. */
const reserve = 512
const unreadEvents = 512
const maxServices = 4096
const maxPage = 10_000

/**
 * Keeps the newest events and log lines in memory. Recording costs the same however much is kept, holds at most 16 KiB
 * of a record, takes out what looks like a secret, and never throws. Calls and other events are kept apart, so that no
 * number of calls pushes out what happened to services.
 */
export function createTelemetry(options: TelemetryOptions = {}): RuntimeTelemetry {
  const { capacity = 20_000, maxBytes = 16 * 1024 * 1024, includeLifecycle = true, clock = systemClock } = options
  const bounds: LogBounds = { ...logBounds, ...options.log }
  const half = Math.max(1, Math.floor(capacity / 2))
  const calls = new PackedRing<RecordedEvent>(half, maxBytes / 2)
  const others = new PackedRing<RecordedEvent>(half, maxBytes / 2)
  const readers = createBroadcast<RecordedEvent>(unreadEvents)
  const counters = new Map<string, CallCounter>()
  const logs = new Map<string, ServiceLogRing>()
  const stamp = stamper(clock)
  const isClean = createCleanCheck()
  let seq = 0

  const deliveries = (options.sinks ?? []).map(
    (sink) =>
      new Delivery(sink, clock, (name, reason) =>
        record({ kind: "telemetry.sink_failed", level: "error", message: `${name}: ${reason}` }),
      ),
  )
  const deliver = (item: TelemetryItem, bytes: number) => {
    for (const delivery of deliveries) delivery.add(item, bytes)
  }

  /** As JSON in a block: a text cut from a caller's megabytes would hold on to all of them. */
  function keep(event: RecordedEvent): string {
    seq = event.seq
    return (event.kind === callKind ? calls : others).push(event)
  }

  function record(given: TimelineEvent): void {
    if (!includeLifecycle && given?.kind !== callKind) return
    // Calls come by the thousand: one that is clean already is not copied first.
    const event = isCleanCall(given) ? given : cleaned(given, { bytes: recordBytes - reserve })
    const { kind, level, message, serviceId, data } = event
    const json = keep({ seq: seq + 1, at: stamp(), kind, level, message, serviceId, data } as RecordedEvent)
    count(event)
    deliver(json, json.length)
    if (readers.readers > 0) readers.publish(JSON.parse(json) as RecordedEvent)
  }

  function isCleanCall(given: TimelineEvent): boolean {
    try {
      return isSmallCall(given) && isClean(given)
    } catch {
      return false
    }
  }

  function count(event: TimelineEvent): void {
    if (event.serviceId === undefined || event.kind !== callKind) return
    entryOf(counters, event.serviceId, () => new CallCounter()).count(event.data ?? {}, event.level === "error")
  }

  function logOf(serviceId: string): ServiceLogRing {
    const make = () => new ServiceLogRing(bounds, stamp, (line, bytes) => deliver({ serviceId, line }, bytes))
    return entryOf(logs, serviceId, make, (log) => log.close())
  }

  for (const event of options.history ?? []) {
    if (event.seq > seq) keep(event)
  }

  return {
    record,
    logOf: (serviceId): ServiceLog => logOf(serviceId),
    events: (query) => newestOf(calls, others, query),
    logs: (serviceId, limit) => logs.get(serviceId)?.newest(pageSize(limit)) ?? [],
    follow: (signal) => readers.subscribe(signal),
    followLogs: (serviceId, signal): AsyncIterable<LogLine> => logOf(serviceId).follow(signal),
    stats: (serviceId) => counters.get(serviceId)?.stats(),
    deliveries: () => deliveries.map((delivery) => delivery.state()),
    forget(serviceId) {
      logs.get(serviceId)?.close()
      logs.delete(serviceId)
      counters.delete(serviceId)
    },
    async [Symbol.asyncDispose]() {
      readers.close()
      for (const log of logs.values()) log.close()
      await Promise.all(deliveries.map((delivery) => delivery.close()))
    },
  }
}

const smallBytes = 4096

/** Flat and small, which all are that the gateway writes. Lists of flat objects are its only depth (the shape of arguments). */
function isSmallCall(given: TimelineEvent): boolean {
  if (given?.kind !== callKind || typeof given.message !== "string" || typeof given.serviceId !== "string") return false
  const { data } = given
  if (data !== undefined && (!isJsonObject(data) || Object.getPrototypeOf(data) !== Object.prototype)) return false
  return given.message.length + given.serviceId.length + sizeOfFlat(data, true) <= smallBytes
}

function sizeOfFlat(data: JsonObject | undefined, lists: boolean): number {
  let bytes = 0
  for (const key in data) {
    const value = data[key]
    bytes += key.length + 8
    if (typeof value === "string") bytes += value.length
    else if (lists && Array.isArray(value)) {
      if (value.length > 64) return Number.POSITIVE_INFINITY
      for (const item of value) bytes += isJsonObject(item) ? sizeOfFlat(item, false) : Number.POSITIVE_INFINITY
    } else if (typeof value !== "number" && typeof value !== "boolean" && value !== undefined)
      return Number.POSITIVE_INFINITY
    if (bytes > smallBytes) break
  }
  return bytes
}

/** The event as it is kept, whatever somebody handed in. */
function cleaned(given: TimelineEvent, budget: Budget): TimelineEvent {
  try {
    const kind = oneLine(given.kind, 128)
    const level = given.level === "error" || given.level === "warn" ? given.level : "info"
    const message = oneLine(given.message, messageBytes)
    budget.bytes -= costOf(kind) + costOf(message)
    if (given.serviceId === undefined && given.data === undefined) return { kind, level, message }
    const serviceId = given.serviceId === undefined ? undefined : oneLine(given.serviceId, 128)
    if (serviceId !== undefined) budget.bytes -= costOf(serviceId)
    const data = given.data === undefined ? undefined : boundedCopy(given.data, budget)
    return {
      kind,
      level,
      message,
      ...(serviceId === undefined ? {} : { serviceId }),
      ...(data === undefined ? {} : { data }),
    }
  } catch {
    // Not what its type says, or a getter of it threw: that it happened is all that can be kept.
    return { kind: "telemetry.unreadable", level: "error", message: "an event could not be read" }
  }
}

/** Newest first out of both rings, by number. */
function newestOf(
  calls: PackedRing<RecordedEvent>,
  others: PackedRing<RecordedEvent>,
  query: EventQuery,
): readonly RecordedEvent[] {
  const { serviceId, kind = "", before = Number.POSITIVE_INFINITY } = query
  const limit = pageSize(query.limit)
  const page: RecordedEvent[] = []
  let [at, other] = [0, 0]
  let [call, right] = [calls.newest(at), others.newest(other)]
  while (page.length < limit) {
    const event = (call?.seq ?? 0) > (right?.seq ?? 0) ? call : right
    if (event === undefined) break
    if (event === call) call = calls.newest(++at)
    else right = others.newest(++other)
    if (event.seq < before && event.kind.startsWith(kind) && (serviceId === undefined || event.serviceId === serviceId))
      page.push(event)
  }
  return page
}

function pageSize(limit: number): number {
  return Math.min(maxPage, Math.max(0, Math.floor(limit) || 0))
}

/** What belongs to a service, made when first needed; beyond the bound the longest known goes. */
function entryOf<T>(entries: Map<string, T>, serviceId: string, make: () => T, drop?: (entry: T) => void): T {
  let entry = entries.get(serviceId)
  if (entry !== undefined) return entry
  for (const [oldest, dropped] of entries) {
    if (entries.size < maxServices) break
    entries.delete(oldest)
    drop?.(dropped)
  }
  entries.set(serviceId, (entry = make()))
  return entry
}

/** ISO time of now; many records share a millisecond. */
function stamper(clock: Clock): () => string {
  let last = Number.NaN
  let text = ""
  return () => {
    const now = clock.now()
    if (now !== last) {
      last = now
      text = new Date(now).toISOString()
    }
    return text
  }
}
