import type { JsonObject } from "./json.ts"

export type Level = "info" | "warn" | "error"

/** One thing that happened, as it is recorded. `data` holds shapes and sizes, never arguments or secrets. */
export interface TimelineEvent {
  /** `mcp.tool_called`, `service.started`, `auth.refused`, ... */
  readonly kind: string
  readonly level: Level
  readonly message: string
  readonly serviceId?: string
  readonly data?: JsonObject
}

/** An event as it is kept: numbered without gaps, in the order it was recorded. */
export interface RecordedEvent extends TimelineEvent {
  readonly seq: number
  /** ISO 8601, UTC. */
  readonly at: string
}

/** The log of one service: its stderr, its log notifications, what the runtime says about it. */
export interface ServiceLog {
  /** One line; longer than 8 KiB is cut, control characters are escaped. Never throws, never blocks. */
  write(stream: "stdout" | "stderr" | "runtime", text: string): void
}

/** Where rooms put what happened. Never throws, never blocks, never waits: it is on the path of every call. */
export interface Telemetry {
  record(event: TimelineEvent): void
  logOf(serviceId: string): ServiceLog
}

export interface LogLine {
  readonly at: string
  readonly stream: "stdout" | "stderr" | "runtime"
  readonly text: string
}

/** Reading side. Lists are newest first. */
export interface Timeline {
  events(query: EventQuery): readonly RecordedEvent[]
  logs(serviceId: string, limit: number): readonly LogLine[]
  /** Events from now on; a slow reader loses the oldest and is told by a gap in `seq`. Ends with the signal. */
  follow(signal: AbortSignal): AsyncIterable<RecordedEvent>
  followLogs(serviceId: string, signal: AbortSignal): AsyncIterable<LogLine>
  /** Forgets a removed service's log. */
  forget(serviceId: string): void
}

export interface EventQuery {
  readonly limit: number
  readonly serviceId?: string
  /** Only kinds beginning with this. */
  readonly kind?: string
  /** Only events with a smaller number: the cursor of the next page. */
  readonly before?: number
}

export const silentLog: ServiceLog = { write: () => {} }
export const silentTelemetry: Telemetry = { record: () => {}, logOf: () => silentLog }
