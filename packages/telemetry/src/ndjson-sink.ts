import { isJsonObject, parseJson, type Level, type LogLine, type RecordedEvent } from "@clarity-runtime/contracts"
import { constants } from "node:fs"
import { mkdir, open, readdir, readFile, unlink, type FileHandle } from "node:fs/promises"
import * as path from "node:path"
import type { TelemetryItem, TelemetrySink } from "./delivery.ts"

export interface NdjsonSinkOptions {
  /** Folder of the segments; made with mode 0700 when missing. */
  readonly directory: string
  /** A segment is closed when it would grow past this. Default 16 MiB. */
  readonly segmentBytes?: number
  /** Segments kept; the oldest go. Default 8. */
  readonly maxSegments?: number
}

const segmentName = /^timeline-(\d{8})\.ndjson$/

/**
 * Appends records as lines of JSON to numbered segments (mode 0600), each batch on disk (`fdatasync`) before its write
 * resolves. A line that a crash cut short is cut off before anything is appended behind it.
 */
export function ndjsonSink(options: NdjsonSinkOptions): TelemetrySink {
  const { directory, segmentBytes = 16 * 1024 * 1024, maxSegments = 8 } = options
  let current: { readonly file: FileHandle; readonly number: number; size: number } | undefined

  async function segmentFor(bytes: number): Promise<{ readonly file: FileHandle; size: number }> {
    if (current !== undefined && (current.size === 0 || current.size + bytes <= segmentBytes)) return current
    let number = current === undefined ? ((await segmentsIn(directory)).at(-1) ?? 1) : current.number + 1
    await release()
    for (;;) {
      const opened = await openSegment(path.join(directory, nameOf(number)))
      current = { ...opened, number }
      if (opened.size === 0 || opened.size + bytes <= segmentBytes) break
      await release()
      number++
    }
    for (const old of (await segmentsIn(directory)).slice(0, -maxSegments))
      await unlink(path.join(directory, nameOf(old)))
    return current
  }

  async function release(): Promise<void> {
    const { file } = current ?? {}
    current = undefined
    await file?.close()
  }

  return {
    name: "ndjson",
    async write(batch) {
      const bytes = Buffer.from(batch.map((item) => `${JSON.stringify(flat(item))}\n`).join(""))
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        const segment = await segmentFor(bytes.length)
        await segment.file.appendFile(bytes)
        await segment.file.datasync()
        segment.size += bytes.length
      } catch (error) {
        // What reached the file is unknown: the next batch opens it anew and cuts a torn line.
        await release()
        throw error
      }
    },
    [Symbol.asyncDispose]: release,
  }
}

/** The newest `limit` records kept in a folder, oldest first: what `createTelemetry` takes as history. Lines that cannot be read are passed over. */
export async function readSegments(directory: string, limit: number): Promise<readonly TelemetryItem[]> {
  let items: TelemetryItem[] = []
  for (const number of (await segmentsIn(directory)).reverse()) {
    if (items.length >= limit) break
    const lines = (await readFile(path.join(directory, nameOf(number)), "utf8")).split("\n")
    const found = lines.slice(items.length - limit - 1).flatMap((line) => parse(line) ?? [])
    items = [...found, ...items]
  }
  return items.slice(-limit)
}

/** Numbers of the segments there are, ascending. */
async function segmentsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return []
    throw error
  })
  return names
    .flatMap((name) => Number(segmentName.exec(name)?.[1] ?? []))
    .filter((number) => number > 0)
    .sort((a, b) => a - b)
}

function nameOf(number: number): string {
  return `timeline-${String(number).padStart(8, "0")}.ndjson`
}

async function openSegment(file: string): Promise<{ readonly file: FileHandle; size: number }> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0)
  const handle = await open(file, flags, 0o600)
  try {
    const size = await endOfLastLine(handle)
    await handle.truncate(size)
    return { file: handle, size }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** The offset behind the last line break; a record is at most some 40 KiB, so the tail tells. */
async function endOfLastLine(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat()
  const tail = Buffer.alloc(Math.min(size, 131_072))
  const { bytesRead } = await handle.read(tail, 0, tail.length, size - tail.length)
  const last = tail.subarray(0, bytesRead).lastIndexOf(10)
  return size - tail.length + last + 1
}

/** Events lie in the file as they are; log lines carry the id of their service as `log`. */
function flat(item: TelemetryItem): object {
  return "event" in item ? item.event : { log: item.serviceId, ...item.line }
}

function parse(line: string): TelemetryItem | undefined {
  if (line === "") return undefined
  try {
    const record = parseJson(line)
    if (!isJsonObject(record)) return undefined
    const { at } = record
    if (typeof at !== "string") return undefined
    const { log, stream, text } = record
    if (typeof log === "string" && typeof text === "string" && isStream(stream))
      return { serviceId: log, line: { at, stream, text } }
    const { seq, kind, level, message, serviceId, data } = record
    if (typeof seq !== "number" || !Number.isSafeInteger(seq)) return undefined
    if (typeof kind !== "string" || typeof message !== "string" || !isLevel(level)) return undefined
    const event: RecordedEvent = {
      seq,
      at,
      kind,
      level,
      message,
      ...(typeof serviceId === "string" ? { serviceId } : {}),
      ...(isJsonObject(data) ? { data } : {}),
    }
    return { event }
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isStream(value: unknown): value is LogLine["stream"] {
  return value === "stdout" || value === "stderr" || value === "runtime"
}

function isLevel(value: unknown): value is Level {
  return value === "info" || value === "warn" || value === "error"
}
