import { isJsonObject, parseJson, type Level, type RecordedEvent } from "@clarity-runtime/contracts"
import type { FileSystem } from "@clarity-runtime/state"
import { readChained } from "./chain.ts"
import { readTail, segmentsIn, withSegment } from "./segments.ts"

/** So much is read at most: a start should not wait for history. */
const newestBytes = 1_048_576

/** The newest sound records of a folder, at most `limit` and about 1 MiB of them, oldest first. */
export async function newestIn(fs: FileSystem, directory: string, limit: number): Promise<readonly RecordedEvent[]> {
  let events: RecordedEvent[] = []
  let bytes = newestBytes
  for (const number of (await segmentsIn(fs, directory)).toReversed()) {
    if (events.length >= limit || bytes <= 0) break
    const { lines, size } = await withSegment(fs, directory, number, (file) => readTail(file, bytes))
    bytes -= size
    events = [...lines.slice(-(limit - events.length)).flatMap((line) => eventOf(line) ?? []), ...events]
  }
  return events
}

function eventOf(line: string): RecordedEvent | undefined {
  if (readChained(line)?.sound !== true) return undefined
  const record = parseJson(line)
  if (!isJsonObject(record)) return undefined
  const { seq, at, kind, level, message, serviceId, data } = record
  if (typeof seq !== "number" || typeof at !== "string" || typeof kind !== "string") return undefined
  if (typeof message !== "string" || !isLevel(level)) return undefined
  return {
    seq,
    at,
    kind,
    level,
    message,
    ...(typeof serviceId === "string" ? { serviceId } : {}),
    ...(isJsonObject(data) ? { data } : {}),
  }
}

function isLevel(value: unknown): value is Level {
  return value === "info" || value === "warn" || value === "error"
}
