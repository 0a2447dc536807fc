import type { Clock, JsonObject, LogLine, RecordedEvent, TimelineEvent } from "@clarity-runtime/contracts"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as fc from "fast-check"
import { describe, expect, test, vi } from "vitest"
import type { TelemetryItem, TelemetrySink } from "./delivery.ts"
import { createTelemetry } from "./telemetry.ts"

const event = (over: Partial<TimelineEvent> = {}): TimelineEvent => ({
  kind: "service.started",
  level: "info",
  message: "up",
  ...over,
})
const called = (over: JsonObject = {}, serviceId = "svc_1"): TimelineEvent =>
  event({
    kind: "mcp.tool_called",
    serviceId,
    message: "tools/call echo",
    data: { outcome: "ok", durationMs: 3, ...over },
  })
const newest = (limit = 100) => ({ limit })

/** A turn of the event loop takes 100 ms. */
const quickClock: Clock = {
  now: () => 0,
  monotonic: () => 0,
  async sleep(ms, signal) {
    for (let turn = 0; turn < ms / 100; turn++) {
      if (signal?.aborted === true) return
      await new Promise((resolve) => setImmediate(resolve))
    }
  },
}

async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) {
    items.push(item)
    if (items.length === count) break
  }
  return items
}

describe("events", () => {
  test("are numbered without gaps, stamped, and listed newest first", () => {
    const telemetry = createTelemetry({ clock: { ...quickClock, now: () => 1_700_000_000_000 } })
    telemetry.record(event())
    telemetry.record(called())
    telemetry.record(event({ kind: "service.stopped", level: "warn", serviceId: "svc_1", data: { code: 1 } }))
    expect(telemetry.events(newest())).toEqual([
      {
        seq: 3,
        at: "2023-11-14T22:13:20.000Z",
        kind: "service.stopped",
        level: "warn",
        message: "up",
        serviceId: "svc_1",
        data: { code: 1 },
      },
      expect.objectContaining({ seq: 2, kind: "mcp.tool_called" }),
      { seq: 1, at: "2023-11-14T22:13:20.000Z", kind: "service.started", level: "info", message: "up" },
    ])
  })

  test("are found by service, kind and page", () => {
    const telemetry = createTelemetry()
    for (let n = 0; n < 10; n++)
      telemetry.record(n % 2 === 0 ? called({}, `svc_${n % 4}`) : event({ serviceId: "svc_0" }))
    const seqs = (events: readonly RecordedEvent[]) => events.map(({ seq }) => seq)
    expect(seqs(telemetry.events({ limit: 3 }))).toEqual([10, 9, 8])
    expect(seqs(telemetry.events({ limit: 3, before: 8 }))).toEqual([7, 6, 5])
    expect(seqs(telemetry.events({ limit: 9, kind: "mcp." }))).toEqual([9, 7, 5, 3, 1])
    expect(seqs(telemetry.events({ limit: 9, kind: "mcp.", serviceId: "svc_2" }))).toEqual([7, 3])
    expect(telemetry.events({ limit: Number.NaN })).toEqual([])
  })

  test("a flood of calls does not push out what happened to services", () => {
    const telemetry = createTelemetry({ capacity: 10 })
    telemetry.record(event())
    for (let n = 0; n < 1000; n++) telemetry.record(called())
    const kept = telemetry.events(newest())
    expect(kept.map(({ seq }) => seq)).toEqual([1001, 1000, 999, 998, 997, 1])
  })

  test("with lifecycle events off only calls are recorded", () => {
    const telemetry = createTelemetry({ includeLifecycle: false })
    telemetry.record(event())
    telemetry.record(called())
    expect(telemetry.events(newest()).map(({ seq, kind }) => [seq, kind])).toEqual([[1, "mcp.tool_called"]])
  })

  test("nothing handed in makes record throw or keeps more than 16 KiB", () => {
    const cyclic: JsonObject = { name: "loop" }
    cyclic["self"] = cyclic
    const hostile: unknown[] = [
      undefined,
      null,
      7,
      {},
      event({ data: cyclic }),
      event({
        data: {
          get x(): never {
            throw new Error("no")
          },
        },
      }),
      event({
        data: {
          big: "x".repeat(5_000_000),
          bytes: Buffer.alloc(1_000_000),
          many: Array.from({ length: 100_000 }, () => "y"),
        },
      }),
      event({ data: JSON.parse('{"__proto__": {"admin": true}}') as JsonObject }),
      event({
        data: { big: 10n ** 5000n, f: () => 1, s: Symbol("s"), u: undefined, nan: Number.NaN, e: new Error("why") },
      }),
      event({ message: "m".repeat(1_000_000), kind: "k".repeat(1000), serviceId: "s".repeat(1000) }),
      event({ level: "fatal" as "error", message: Symbol("m") as unknown as string }),
    ]
    const telemetry = createTelemetry()
    for (const one of hostile) telemetry.record(one as TimelineEvent)
    const kept = telemetry.events(newest())
    expect(kept).toHaveLength(hostile.length)
    for (const one of kept) expect(Buffer.byteLength(JSON.stringify(one))).toBeLessThanOrEqual(16_384)
    expect(kept.find(({ data }) => data?.["name"] === "loop")?.data).toHaveProperty("self.self.self")
    expect(JSON.stringify(kept)).toContain("[cut]")
    expect(JSON.stringify(kept)).toContain("[1000000 bytes]")
  })

  test("what the caller changes afterwards does not change the record", () => {
    const telemetry = createTelemetry()
    const data = { list: [1] }
    telemetry.record(event({ data }))
    data.list.push(2)
    expect(telemetry.events(newest())[0]?.data).toEqual({ list: [1] })
  })

  test("secrets are taken out of messages, fields and texts inside fields", () => {
    const telemetry = createTelemetry()
    telemetry.record(
      event({
        message: "called with Bearer canary-1 and token=canary-2",
        data: {
          password: "canary-3",
          nested: { apiKey: "canary-4", note: "sk-canary-5-canary" },
          tokens: 12,
          url: "https://u:canary-6@h/?key=canary-7",
        },
      }),
    )
    const [kept] = telemetry.events(newest())
    expect(JSON.stringify(kept)).not.toContain("canary")
    expect(kept?.data).toMatchObject({ tokens: 12 })
  })

  test("one record is one line, whatever is in it", () => {
    const telemetry = createTelemetry()
    telemetry.record(event({ message: 'a\r\nb\u2028c\u001b[31m{"fake":1}\u0000\ud800', data: { "k\n": "v\n" } }))
    const [kept] = telemetry.events(newest())
    expect(kept?.message).toBe('a\\r\\nb\\u2028c\\u001b[31m{"fake":1}\\u0000\ufffd')
    expect(kept?.data).toEqual({ "k\\n": "v\\n" })
  })

  test("the rings keep their bounds and the newest, whatever comes", () => {
    const anyEvent = fc.record({
      kind: fc.constantFrom("mcp.tool_called", "service.started"),
      message: fc.string({ maxLength: 600 }),
      data: fc.object({ maxDepth: 8, withBigInt: true }),
    })
    fc.assert(
      fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 60 }), (events) => {
        const telemetry = createTelemetry({ capacity: 10, maxBytes: 8192 })
        for (const one of events) telemetry.record(event(one))
        const kept = telemetry.events(newest())
        expect(kept.length).toBeLessThanOrEqual(10)
        expect(kept[0]?.seq).toBe(events.length)
        expect(kept.map(({ seq }) => seq)).toEqual(kept.map(({ seq }) => seq).toSorted((a, b) => b - a))
        // One over-long record may be kept alone in each ring.
        const bytes = kept.slice(2).reduce((sum, one) => sum + Buffer.byteLength(JSON.stringify(one)), 0)
        expect(bytes).toBeLessThanOrEqual(2 * 8192)
        for (const one of kept) expect(Buffer.byteLength(JSON.stringify(one))).toBeLessThanOrEqual(16_384)
      }),
    )
  })
})

describe("following", () => {
  test("gives events from now on and ends with the signal", async () => {
    const telemetry = createTelemetry()
    telemetry.record(event())
    const reader = new AbortController()
    const seen = take(telemetry.follow(reader.signal), 2)
    telemetry.record(event())
    telemetry.record(called())
    expect((await seen).map(({ seq }) => seq)).toEqual([2, 3])
    const idle = take(telemetry.follow(reader.signal), 1)
    reader.abort()
    expect(await idle).toEqual([])
  })

  test("a reader that does not read loses the oldest and sees a gap", async () => {
    const telemetry = createTelemetry()
    const events = telemetry.follow(new AbortController().signal)
    for (let n = 0; n < 2000; n++) telemetry.record(event())
    const seen = await take(events, 512)
    expect([seen[0]?.seq, seen.at(-1)?.seq]).toEqual([1489, 2000])
  })

  test("disposing ends every reader", async () => {
    const telemetry = createTelemetry()
    const signal = new AbortController().signal
    const both = [take(telemetry.follow(signal), 1), take(telemetry.followLogs("svc_1", signal), 1)]
    await telemetry[Symbol.asyncDispose]()
    expect(await Promise.all(both)).toEqual([[], []])
  })
})

describe("logs", () => {
  test("keep the newest lines of each service, one line each, without secrets", () => {
    const telemetry = createTelemetry({ log: { lines: 3 } })
    const log = telemetry.logOf("svc_1")
    for (const text of ["one", "two\n", "three\nlines\r\n", "password: canary", "\u001b[2Jcleared"])
      log.write("stderr", text)
    telemetry.logOf("svc_2").write("runtime", "other")
    expect(telemetry.logs("svc_1", 10).map(({ text }) => text)).toEqual([
      "\\u001b[2Jcleared",
      "password: [redacted]",
      "three\\nlines",
    ])
    expect(telemetry.logs("svc_1", 1)).toHaveLength(1)
    expect(telemetry.logs("svc_3", 10)).toEqual([])
    telemetry.forget("svc_1")
    expect(telemetry.logs("svc_1", 10)).toEqual([])
    expect(telemetry.logs("svc_2", 10)).toHaveLength(1)
  })

  test("a line is at most 8 KiB of UTF-8, all lines together 256 KiB", () => {
    const telemetry = createTelemetry()
    const log = telemetry.logOf("svc_1")
    for (let n = 0; n < 100; n++) log.write("stdout", "é".repeat(100_000))
    const lines = telemetry.logs("svc_1", 1000)
    const sizes = lines.map(({ text }) => Buffer.byteLength(text))
    expect(Math.max(...sizes)).toBeLessThanOrEqual(8192)
    expect(Math.min(...sizes)).toBeGreaterThan(8000)
    expect(sizes.reduce((a, b) => a + b)).toBeLessThanOrEqual(262_144)
    expect(lines.every(({ text }) => text.endsWith("é…"))).toBe(true)
  })

  test("can be followed, and a forgotten service's readers end", async () => {
    const telemetry = createTelemetry()
    const signal = new AbortController().signal
    const lines: LogLine[] = []
    const reading = (async () => {
      for await (const line of telemetry.followLogs("svc_1", signal)) lines.push(line)
    })()
    telemetry.logOf("svc_1").write("stdout", "hello")
    telemetry.logOf("svc_2").write("stdout", "not me")
    telemetry.forget("svc_1")
    await reading
    expect(lines.map(({ text }) => text)).toEqual(["hello"])
  })
})

describe("figures", () => {
  test("calls, errors and quantiles are counted per service, beyond what the ring keeps", () => {
    const telemetry = createTelemetry({ capacity: 4 })
    for (let n = 0; n < 98; n++) telemetry.record(called({ durationMs: 2 }))
    telemetry.record(called({ durationMs: 500, outcome: "upstream_error" }))
    telemetry.record(called({ durationMs: 500, outcome: "cancelled" }))
    telemetry.record(called({}, "svc_2"))
    const stats = telemetry.stats("svc_1")
    expect(stats).toMatchObject({ calls: 100, errors: 1 })
    expect(stats?.p50Ms).toBeGreaterThanOrEqual(2)
    expect(stats?.p50Ms).toBeLessThanOrEqual(2.4)
    expect(stats?.p99Ms).toBeGreaterThanOrEqual(500)
    expect(stats?.p99Ms).toBeLessThanOrEqual(600)
    expect(telemetry.stats("svc_3")).toBeUndefined()
    telemetry.forget("svc_1")
    expect(telemetry.stats("svc_1")).toBeUndefined()
  })

  test("times that make no sense do not break them", () => {
    const telemetry = createTelemetry()
    for (const durationMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "3", 1e300])
      telemetry.record(called({ durationMs }))
    expect(telemetry.stats("svc_1")?.calls).toBe(6)
    expect(telemetry.stats("svc_1")?.p99Ms).toBeGreaterThan(0)
  })
})

describe("calls that are not what their type says", () => {
  test.each<[string, unknown]>([
    ["a text", "Bearer abcdefgh"],
    ["null", null],
    ["a date", new Date(0)],
    [
      "a class",
      new (class {
        readonly toJSON = () => "Bearer abcdefgh"
      })(),
    ],
    ["one that writes itself", Object.create({ toJSON: () => "Bearer abcdefgh" })],
    [
      "one that throws",
      {
        get x(): never {
          throw new Error("no")
        },
      },
    ],
  ])("are recorded without a secret, for readers too: %s", async (_what, data) => {
    const telemetry = createTelemetry({ clock: quickClock })
    const ending = new AbortController()
    const reading = take(telemetry.follow(ending.signal), 1)
    telemetry.record({ ...called(), data: data as JsonObject })
    expect(telemetry.events(newest())).toHaveLength(1)
    expect(JSON.stringify([telemetry.events(newest()), await reading])).not.toContain("abcdefgh")
    ending.abort()
  })

  test("hold on to nothing of the texts they were cut from", () => {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void
    const telemetry = createTelemetry()
    const used = () => {
      collect()
      return process.memoryUsage().heapUsed
    }
    const before = used()
    for (let n = 0; n < 200; n++) {
      const long = `${n} ${"x".repeat(1_000_000)}${n}`
      // A flat text, as a parser makes them.
      const name = Buffer.from(long).toString("latin1").slice(0, 64)
      telemetry.record(called({ arguments: [{ name, type: "string" }] }))
      telemetry.record(event({ kind: "mcp.refused", data: { target: name } }))
    }
    expect((used() - before) / 1e6).toBeLessThan(50)
    expect(telemetry.events(newest(1000))).toHaveLength(400)
  })
})

describe("sinks", () => {
  function nameOf(item: TelemetryItem): number | string {
    if (typeof item === "string") return JSON.parse(item).seq
    return "lost" in item ? `lost ${item.lost}` : item.line.text
  }

  function collecting(over: Partial<TelemetrySink> = {}): TelemetrySink & { items: TelemetryItem[]; closed: boolean } {
    const sink = {
      name: "test",
      items: [] as TelemetryItem[],
      closed: false,
      async write(batch: readonly TelemetryItem[]) {
        sink.items.push(...batch)
      },
      async [Symbol.asyncDispose]() {
        sink.closed = true
      },
      ...over,
    }
    return sink
  }

  test("get everything in order, the rest when the telemetry is disposed", async () => {
    const sink = collecting()
    const telemetry = createTelemetry({ sinks: [sink], clock: quickClock })
    for (let n = 0; n < 450; n++) telemetry.record(event())
    telemetry.logOf("svc_1").write("stderr", "line")
    await telemetry[Symbol.asyncDispose]()
    expect(sink.items.map(nameOf)).toEqual([...Array.from({ length: 450 }, (_, n) => n + 1), "line"])
    expect(telemetry.deliveries()).toEqual([{ name: "test", queued: 0, written: 451, lost: 0, failing: undefined }])
    expect(sink.closed).toBe(true)
    telemetry.record(event())
    expect(telemetry.deliveries()[0]?.lost).toBe(1)
  })

  test("one that fails is named in the timeline once, gets the same records again, and holds up no other", async () => {
    let broken = true
    let tries = 0
    const good = collecting()
    const bad = collecting({ name: "bad" })
    const take = bad.write
    const failing = { ...bad, write: (batch: readonly TelemetryItem[]) => (broken ? fail() : take(batch)) }
    const fail = () => {
      tries++
      return Promise.reject(new Error("disk full"))
    }
    const telemetry = createTelemetry({ sinks: [failing, good], clock: quickClock })
    telemetry.record(event())
    await vi.waitUntil(() => tries > 2)
    expect(telemetry.deliveries()[0]).toMatchObject({ failing: "disk full", lost: 0 })
    broken = false
    telemetry.record(event())
    await telemetry[Symbol.asyncDispose]()
    expect(telemetry.deliveries()[0]).toMatchObject({ failing: undefined, queued: 0, lost: 0, written: 3 })
    const all = ["service.started", "telemetry.sink_failed", "service.started"]
    for (const { items } of [bad, good])
      expect(items.flatMap((item) => (typeof item === "string" ? JSON.parse(item).kind : []))).toEqual(all)
  })

  test("one that could not keep up is told how many found no room, where they are missing", async () => {
    const gate = Promise.withResolvers<void>()
    const slow = collecting({ takes: "events" })
    const take = slow.write
    const waiting = { ...slow, write: (batch: readonly TelemetryItem[]) => gate.promise.then(() => take(batch)) }
    const telemetry = createTelemetry({ sinks: [waiting], clock: quickClock })
    for (let n = 0; n < 10_500; n++) telemetry.record(event())
    telemetry.logOf("svc_1").write("stderr", "a line is none of its business")
    gate.resolve()
    await vi.waitUntil(() => telemetry.deliveries()[0]?.queued === 0)
    telemetry.record(event())
    await telemetry[Symbol.asyncDispose]()
    expect(slow.items.slice(-3).map(nameOf)).toEqual([10_000, "lost 500", 10_501])
    expect(slow.items).toHaveLength(10_002)
  })

  test("one that hangs holds a bounded queue and does not hold up the end", async () => {
    const stuck = collecting({ write: () => new Promise(() => {}) })
    const telemetry = createTelemetry({ sinks: [stuck], clock: quickClock })
    for (let n = 0; n < 30_000; n++) telemetry.record(event())
    expect(telemetry.deliveries()[0]?.queued).toBe(10_000)
    expect(telemetry.deliveries()[0]?.lost).toBe(20_000)
    await telemetry[Symbol.asyncDispose]()
    expect(telemetry.events({ limit: 1 })[0]?.seq).toBe(30_000)
  })
})
