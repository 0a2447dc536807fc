import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { systemClock, type Clock } from "@clarity-runtime/contracts"
import { faultyFileSystem, type Fault } from "@clarity-runtime/state/faults"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { TelemetryItem } from "../delivery.ts"
import { createTelemetry } from "../telemetry.ts"
import { auditLog, type AuditLogOptions } from "./audit-log.ts"
import { verifyAudit } from "./verify.ts"

let folder = ""
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "clarity-audit-"))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const directory = () => path.join(folder, "audit")
const segments = () =>
  readdirSync(directory())
    .filter((name) => name.endsWith(".ndjson"))
    .sort()
const fileAt = (index: number) => path.join(directory(), segments().at(index) ?? "")
const lines = () =>
  segments()
    .flatMap((_, i) => readFileSync(fileAt(i), "utf8").trimEnd().split("\n"))
    .filter(Boolean)
const records = () => lines().map((line) => JSON.parse(line))
const messages = () => records().map(({ message }) => message)

let counter = 0
const item = (message = `m${++counter}`): TelemetryItem =>
  JSON.stringify({
    seq: ++counter,
    at: new Date().toISOString(),
    kind: "k",
    level: "info",
    message,
    data: { n: counter },
  })
async function written(count: number, options: Partial<AuditLogOptions> = {}): Promise<void> {
  const log = auditLog({ directory: directory(), ...options })
  for (let n = 0; n < count; n++) await log.write([item()])
  await log[Symbol.asyncDispose]()
}
const problems = async () =>
  (await verifyAudit(directory())).problems.map(({ file, line, what }) => `${file}:${line} ${what}`)

describe("the chain", () => {
  test("goes on over batches, segments and restarts, in files only the owner may read", async () => {
    const umask = process.umask(0)
    try {
      await written(7, { segmentBytes: 1000 })
      await written(5, { segmentBytes: 1000, durability: "each" })
    } finally {
      process.umask(umask)
    }
    expect(records().map(({ seq }) => seq)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    expect(segments().length).toBeGreaterThan(2)
    expect(statSync(directory()).mode & 0o777).toBe(0o700)
    for (const name of segments()) expect(statSync(path.join(directory(), name)).mode & 0o777).toBe(0o600)
    const report = await verifyAudit(directory())
    expect(report).toMatchObject({ ok: true, records: 12, first: 1, last: { seq: 12 }, unrecorded: 0, problems: [] })
    expect(report.last?.hash).toBe(records().at(-1).hash)
  })

  test("nothing kept yet is sound, and nothing", async () => {
    expect(await verifyAudit(directory())).toEqual({
      ok: true,
      records: 0,
      segments: 0,
      bytes: 0,
      unrecorded: 0,
      problems: [],
    })
  })

  test.each([
    [
      "a byte of a middle record",
      (text: string[]) => [...text.slice(0, 3), text[3]?.replace("m", "M"), ...text.slice(4)],
      /:4 record 4 is not as/,
    ],
    [
      "a middle record is gone",
      (text: string[]) => [...text.slice(0, 3), ...text.slice(4)],
      /:4 record 5 does not follow record 3/,
    ],
    [
      "two changed places",
      (text: string[]) => [text[0], text[2], text[1], ...text.slice(3)],
      /:2 record 3 does not follow record 1/,
    ],
    [
      "one is there twice",
      (text: string[]) => [text[0], text[0], ...text.slice(1)],
      /:2 record 1 does not follow record 1/,
    ],
    ["the first is gone", (text: string[]) => text.slice(1), /:1 records before 2 are missing/],
    ["a line of somebody's", (text: string[]) => [...text.slice(0, 2), "{}", ...text.slice(2)], /:3 this is no record/],
  ])("tells when %s", async (_name, edit, expected) => {
    await written(8)
    const name = segments()[0]
    writeFileSync(fileAt(0), `${edit(lines()).join("\n")}\n`)
    const found = await problems()
    expect(found[0]).toMatch(expected)
    expect(found[0]).toContain(String(name))
  })

  test("tells of any single bit that was turned, wherever it is", async () => {
    await written(4)
    const good = readFileSync(fileAt(0))
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length * 8 - 1), async (bit) => {
        const bad = Buffer.from(good)
        bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        writeFileSync(fileAt(0), bad)
        expect((await verifyAudit(directory())).ok).toBe(false)
      }),
      { numRuns: 300 },
    )
  })

  test("tells of a missing segment, and of a record rewritten with a hash that fits it", async () => {
    await written(12, { segmentBytes: 1000 })
    const kept = lines()
    rmSync(fileAt(1))
    expect((await problems())[0]).toMatch(/does not follow/)
    const forged = JSON.parse(kept[0] as string)
    rmSync(directory(), { recursive: true })
    await written(1)
    const other = JSON.parse(lines()[0] as string)
    expect(other.hash).not.toBe(forged.hash)
    writeFileSync(fileAt(0), `${lines()[0]}\n${kept[1]}\n`)
    expect((await problems())[0]).toMatch(/record 2 does not follow record 1/)
  })

  test("a head that was noted proves that the end was not cut off; one from before what is kept proves nothing", async () => {
    await written(3)
    const { last } = await verifyAudit(directory())
    await written(3)
    expect(await verifyAudit(directory(), { expect: last! })).toMatchObject({ ok: true })
    writeFileSync(fileAt(0), `${lines().slice(0, 2).join("\n")}\n`)
    expect(await verifyAudit(directory())).toMatchObject({ ok: true })
    const cut = await verifyAudit(directory(), { expect: last! })
    expect(cut.problems[0]?.what).toMatch(/^record 3 with the hash .* is not in the chain$/)
  })

  test("the writer itself knows where the end is", async () => {
    const log = auditLog({ directory: directory() })
    for (let n = 0; n < 4; n++) await log.write([item()])
    expect(await log.verify({})).toMatchObject({ ok: true, records: 4 })
    writeFileSync(fileAt(0), `${lines().slice(0, 2).join("\n")}\n`)
    const { problems: found } = await log.verify({})
    expect(found[0]?.what).toBe("the chain ends with record 2, but record 4 was written")
    await log[Symbol.asyncDispose]()
  })
})

describe("a crash", () => {
  test("at any byte of the last record: it is cut off and told, and the chain goes on", async () => {
    await written(3)
    const whole = readFileSync(fileAt(0))
    const before = whole.lastIndexOf(10, whole.length - 2) + 1
    for (const size of [before + 1, before + 40, whole.length - 1]) {
      writeFileSync(fileAt(0), whole.subarray(0, size))
      const log = auditLog({ directory: directory() })
      await log.write([item("after")])
      expect(log.notices).toEqual([`The audit: the last record of ${segments()[0]} was cut short by a crash`])
      await log[Symbol.asyncDispose]()
      expect(records().map(({ kind }) => kind)).toEqual(["k", "k", "audit.tail_cut", "k"])
      expect(await verifyAudit(directory())).toMatchObject({ ok: true, records: 4 })
    }
  })

  test("that left zeros or rubbish: what lies there is kept, told, and stays told", async () => {
    await written(3)
    appendFileSync(fileAt(0), "\0".repeat(50) + '\n{"seq":9}\n')
    const log = auditLog({ directory: directory() })
    await log.write([item("after")])
    expect(log.notices[0]).toContain("not as it was written")
    await log[Symbol.asyncDispose]()
    expect(segments()).toHaveLength(2)
    expect(readFileSync(fileAt(1), "utf8")).toContain("audit.damaged")
    expect((await verifyAudit(directory())).ok).toBe(false)
    await written(2)
    expect(segments()).toHaveLength(2)
    expect(
      (await problems()).every(
        (problem) => problem.startsWith(String(segments()[0])) || problem.startsWith(`${segments()[1]}:1 `),
      ),
    ).toBe(true)
  })

  test("so much without a line break is nobody's torn record: it is not cut away", async () => {
    await written(1)
    const size = statSync(fileAt(0)).size
    appendFileSync(fileAt(0), "x".repeat(300_000))
    await written(1)
    expect(statSync(fileAt(0)).size).toBe(size + 300_000)
    expect((await verifyAudit(directory())).ok).toBe(false)
  })
})

describe("room", () => {
  test("the oldest segments go, and what is left can still be proved", async () => {
    await written(40, { maxBytes: 4000 })
    const total = segments().reduce((sum, _, i) => sum + statSync(fileAt(i)).size, 0)
    expect(total).toBeLessThanOrEqual(4000)
    const report = await verifyAudit(directory())
    expect(report).toMatchObject({ ok: true, last: { seq: 40 } })
    expect(report.first).toBeGreaterThan(20)
    rmSync(fileAt(0))
    expect((await problems())[0]).toMatch(/records between \d+ and \d+ are missing/)
    writeFileSync(path.join(directory(), "anchor.json"), "rubbish")
    expect((await verifyAudit(directory())).ok).toBe(false)
  })

  test("a crash between anchor and removal is no problem", async () => {
    await written(40, { maxBytes: 4000 })
    const [middle] = records().slice(3)
    writeFileSync(path.join(directory(), "anchor.json"), JSON.stringify({ seq: middle.seq, hash: middle.hash }))
    expect(await verifyAudit(directory())).toMatchObject({ ok: true })
  })

  test("segments older than wished go, and none holds more than half of that time", async () => {
    let now = Date.parse("2026-01-01T00:00:00Z")
    const clock: Clock = { ...systemClock, now: () => now }
    const log = auditLog({ directory: directory(), maxDays: 2, clock })
    for (let day = 0; day < 3; day++) {
      await log.write([item()])
      now += 86_400_000
    }
    expect(segments()).toHaveLength(3)
    now = Date.now() + 5 * 86_400_000
    await log.write([item("newest")])
    await log[Symbol.asyncDispose]()
    expect(messages()).toEqual(["newest"])
    expect(await verifyAudit(directory())).toMatchObject({ ok: true, first: 4, last: { seq: 4 } })
  })
})

describe("a disk that fails", () => {
  const faults: Fault[] = ["EIO", "ENOSPC", "short"]
  const quick: Clock = { ...systemClock, sleep: () => new Promise((resolve) => setImmediate(resolve)) }

  test.each(faults)(
    "once, with %s, at any call: every event is there once, in order, and the chain holds",
    async (fault) => {
      for (let at = 0; ; at++) {
        rmSync(directory(), { recursive: true, force: true })
        const fs = faultyFileSystem(at, fault)
        for (const durability of ["each", "everySecond"] as const) {
          const log = auditLog({ directory: directory(), durability, maxBytes: 6000, fs, clock: quick })
          for (let n = 0; n < 4; n++) {
            const batch = [item(`${durability} ${n}`), item("second of the batch")]
            while (
              !(await log.write(batch).then(
                () => true,
                () => false,
              ))
            );
          }
          await Promise.resolve(log[Symbol.asyncDispose]()).catch(() => undefined)
        }
        const report = await verifyAudit(directory())
        expect(report.problems, `call ${at}: ${fs.failed}`).toEqual([])
        const first = messages().filter((message) => message.startsWith("e"))
        expect(first, `call ${at}: ${fs.failed}`).toEqual(
          ["each", "everySecond"].flatMap((durability) => [0, 1, 2, 3].map((n) => `${durability} ${n}`)),
        )
        if (fs.failed === undefined && fs.calls.length <= at) break
      }
    },
  )

  test("for a while: calls to record never fail, the notice names it, and what found no room is counted in the chain", async () => {
    let broken = false
    const inner = faultyFileSystem(Number.POSITIVE_INFINITY)
    const failing = faultyFileSystem(0, "ENOSPC", { lasting: true })
    const fs = new Proxy(inner, { get: (good, key) => Reflect.get(broken ? failing : good, key) })
    const log = auditLog({ directory: directory(), fs, clock: quick })
    const telemetry = createTelemetry({ sinks: [log], clock: quick })
    const record = (message: string) => telemetry.record({ kind: "k", level: "info", message })
    broken = true
    for (let n = 0; n < 10_300; n++) record(`n${n}`)
    await expect
      .poll(() => log.notices)
      .toEqual([
        expect.stringMatching(
          /^The audit is not written, calls go on: cannot .*: no space left on the disk \(ENOSPC\)$/,
        ),
      ])
    broken = false
    await expect.poll(() => telemetry.deliveries()[0]?.queued).toBe(0)
    record("after")
    // To this clock the five seconds that a close waits are one turn.
    await expect.poll(() => telemetry.deliveries()[0]?.queued).toBe(0)
    await telemetry[Symbol.asyncDispose]()
    expect(log.notices).toEqual([])
    const kept = records()
    const gap = kept.findIndex(({ kind }) => kind === "audit.gap")
    // One more than was recorded here: that the sink failed is an event as well, and perhaps one that found no room.
    const told = kept.filter(({ kind }) => kind === "k" || kind === "telemetry.sink_failed").length
    const lost = kept.reduce((sum, { kind, data }) => (kind === "audit.gap" ? sum + data.lost : sum), 0)
    expect(lost + told).toBe(10_302)
    expect(kept[gap - 1].message).toBe("n9999")
    const report = await verifyAudit(directory())
    expect(report).toMatchObject({ ok: true, unrecorded: lost })
  })

  test("a segment that is taken away under the writer is told, and not written into nowhere", async () => {
    const log = auditLog({ directory: directory(), durability: "each" })
    await log.write([item("one")])
    rmSync(directory(), { recursive: true })
    await log.write([item("two")])
    await log.write([item("three")])
    await log[Symbol.asyncDispose]()
    expect(records().map(({ kind, message }) => (kind === "k" ? message : kind))).toEqual(["audit.file_gone", "three"])
    expect((await problems())[0]).toMatch(/records before 3 are missing/)
  })
})

test("the newest records are history for the next start: numbers go on", async () => {
  const first = auditLog({ directory: directory(), segmentBytes: 2000 })
  const before = createTelemetry({ sinks: [first] })
  for (let n = 0; n < 30; n++)
    before.record({ kind: "service.started", level: "info", message: `up ${n}`, serviceId: "svc_1", data: { pid: n } })
  before.record({
    kind: "mcp.tool_called",
    level: "info",
    message: "call",
    serviceId: "svc_1",
    data: { outcome: "ok", durationMs: 1, arguments: [{ name: "password", type: "string", bytes: 9 }] },
  })
  await before[Symbol.asyncDispose]()
  const second = auditLog({ directory: directory() })
  const after = createTelemetry({ history: await second.newest(20) })
  after.record({ kind: "service.stopped", level: "info", message: "down" })
  expect(after.events({ limit: 100 })).toEqual([
    expect.objectContaining({ seq: 32, message: "down" }),
    ...before.events({ limit: 20 }),
  ])
})

test("an audit that cannot be read is no history, and does not keep anything from starting", async () => {
  writeFileSync(directory(), "in the way")
  const log = auditLog({ directory: directory() })
  expect(await log.newest(10)).toEqual([])
  await expect(log.write([item()])).rejects.toThrow(/EEXIST|ENOTDIR/)
  expect(log.notices[0]).toContain("calls go on")
  rmSync(directory())
  await log.write([item()])
  expect(log.notices).toEqual([])
  truncateSync(fileAt(0), 0)
  await log[Symbol.asyncDispose]()
})
