import type { Telemetry, TimelineEvent } from "@clarity-runtime/contracts"

export interface FakeTelemetry extends Telemetry {
  readonly events: readonly TimelineEvent[]
  /** Lines written to services' logs: `<serviceId> <stream> <text>`. */
  readonly lines: readonly string[]
}

/** Keeps all it is told. */
export function fakeTelemetry(): FakeTelemetry {
  const events: TimelineEvent[] = []
  const lines: string[] = []
  return {
    events,
    lines,
    record: (event) => void events.push(event),
    logOf: (serviceId) => ({ write: (stream, text) => void lines.push(`${serviceId} ${stream} ${text}`) }),
  }
}
