import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"
import { ndjsonSink, readSegments } from "./ndjson-sink.ts"
import { createTelemetry } from "./telemetry.ts"

let folder = ""
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "clarity-timeline-"))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const directory = () => path.join(folder, "timeline")
const event = (seq: number, message = "m") => ({
  event: { seq, at: "2026-01-01T00:00:00.000Z", kind: "k", level: "info", message } as const,
})
const line = { serviceId: "svc_1", line: { at: "2026-01-01T00:00:00.000Z", stream: "stderr", text: "t" } as const }

test("what was written is read back in order, in files only the owner may read", async () => {
  const sink = ndjsonSink({ directory: directory() })
  await sink.write([event(1), line])
  await sink.write([event(2)])
  await sink[Symbol.asyncDispose]()
  expect(await readSegments(directory(), 10)).toEqual([event(1), line, event(2)])
  expect(await readSegments(directory(), 2)).toEqual([line, event(2)])
  expect(statSync(directory()).mode & 0o777).toBe(0o700)
  expect(statSync(path.join(directory(), "timeline-00000001.ndjson")).mode & 0o777).toBe(0o600)
})

test("nothing kept yet is nothing", async () => {
  expect(await readSegments(directory(), 10)).toEqual([])
})

test("segments rotate by size and the oldest go", async () => {
  const sink = ndjsonSink({ directory: directory(), segmentBytes: 300, maxSegments: 3 })
  for (let seq = 1; seq <= 20; seq++) await sink.write([event(seq)])
  await sink[Symbol.asyncDispose]()
  const names = readdirSync(directory()).sort()
  expect(names).toHaveLength(3)
  for (const name of names) expect(statSync(path.join(directory(), name)).size).toBeLessThanOrEqual(300)
  const kept = await readSegments(directory(), 100)
  expect(kept.at(-1)).toEqual(event(20))
  expect(kept.length).toBeGreaterThan(5)
})

test("a line torn by a crash is cut off, and rubbish in between is passed over", async () => {
  const first = ndjsonSink({ directory: directory() })
  await first.write([event(1)])
  await first[Symbol.asyncDispose]()
  const file = path.join(directory(), "timeline-00000001.ndjson")
  appendFileSync(file, 'rubbish\n{"seq":"x"}\n[]\n\0\0\n{"seq":2,"at":"2026-0')
  const second = ndjsonSink({ directory: directory() })
  await second.write([event(2)])
  await second[Symbol.asyncDispose]()
  expect(readFileSync(file, "utf8")).not.toContain('"2026-0{')
  expect(await readSegments(directory(), 10)).toEqual([event(1), event(2)])
})

test("a failed write is told and the next one starts over", async () => {
  writeFileSync(directory(), "in the way")
  const sink = ndjsonSink({ directory: directory() })
  await expect(sink.write([event(1)])).rejects.toThrow(/EEXIST|ENOTDIR/)
  rmSync(directory())
  await sink.write([event(2)])
  await sink[Symbol.asyncDispose]()
  expect(await readSegments(directory(), 10)).toEqual([event(2)])
})

test("the timeline goes on after a restart: events, logs and numbers", async () => {
  const before = createTelemetry({ sinks: [ndjsonSink({ directory: directory() })] })
  before.record({ kind: "service.started", level: "info", message: "up", serviceId: "svc_1", data: { pid: 7 } })
  before.logOf("svc_1").write("stderr", "ready")
  await before[Symbol.asyncDispose]()

  const after = createTelemetry({ history: await readSegments(directory(), 1000) })
  after.record({ kind: "service.stopped", level: "info", message: "down" })
  expect(after.events({ limit: 10 })).toEqual([expect.objectContaining({ seq: 2 }), ...before.events({ limit: 10 })])
  expect(after.logs("svc_1", 10)).toEqual(before.logs("svc_1", 10))
})
