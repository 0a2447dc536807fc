import type { JsonObject, Telemetry, Timeline } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"

export interface TelemetryFixture {
  readonly telemetry: Telemetry & Timeline
  /** Resolves when what was recorded can be read; absent: at once. */
  readonly settled?: () => Promise<void>
  readonly close?: () => Promise<void>
}

/** What everything that is `Telemetry` and `Timeline` promises. */
export function telemetryContract(name: string, open: () => TelemetryFixture | Promise<TelemetryFixture>): void {
  describe(`${name} keeps the contract of telemetry`, () => {
    let fixture: TelemetryFixture
    let telemetry: Telemetry & Timeline
    beforeEach(async () => {
      fixture = await open()
      telemetry = fixture.telemetry
    })
    afterEach(async () => {
      await fixture.close?.()
    })
    const record = async (...kinds: string[]) => {
      for (const kind of kinds) telemetry.record({ kind, level: "info", message: kind, serviceId: `svc-${kind}` })
      await fixture.settled?.()
    }

    it("numbers events without gaps and lists the newest first", async () => {
      await record("a", "b", "c")
      const events = telemetry.events({ limit: 10 })
      expect(events.map(({ kind }) => kind)).toEqual(["c", "b", "a"])
      expect(events.map(({ seq }) => seq - (events[2]?.seq ?? 0))).toEqual([2, 1, 0])
      for (const { at } of events) expect(new Date(at).toISOString()).toBe(at)
    })

    it("finds events by service, by the beginning of their kind, page by page", async () => {
      await record("call.began", "call.ended", "service.started", "call.began")
      expect(telemetry.events({ limit: 10, kind: "call." }).map(({ kind }) => kind)).toEqual([
        "call.began",
        "call.ended",
        "call.began",
      ])
      expect(telemetry.events({ limit: 10, serviceId: "svc-service.started" })).toHaveLength(1)
      const [newest] = telemetry.events({ limit: 1 })
      const older = telemetry.events({ limit: 2, before: newest?.seq ?? 0 })
      expect(older.map(({ kind }) => kind)).toEqual(["service.started", "call.ended"])
    })

    it("never throws, whatever it is told", async () => {
      const cyclic: JsonObject = { big: 10n }
      cyclic["self"] = cyclic
      telemetry.record({ kind: "odd", level: "error", message: "\u0000\u001b[31m".repeat(100_000), data: cyclic })
      telemetry.logOf("__proto__").write("stderr", "x".repeat(1_000_000))
      telemetry.logOf("svc").write("stdout", "\ud800")
      await record("after")
      expect(telemetry.events({ limit: 1 })[0]?.kind).toBe("after")
    })

    it("keeps each service's log apart, bounded and free of control characters, until it is forgotten", async () => {
      telemetry.logOf("a").write("stderr", "first of a")
      telemetry.logOf("b").write("stderr", "of b")
      telemetry.logOf("a").write("runtime", `\u001b[2J${"long ".repeat(10_000)}`)
      await fixture.settled?.()
      const [newest, oldest, ...rest] = telemetry.logs("a", 10)
      expect(rest).toEqual([])
      expect(oldest).toMatchObject({ stream: "stderr", text: "first of a" })
      expect(newest?.text.length).toBeLessThan(9000)
      expect(newest?.text).not.toContain("\u001b")
      telemetry.forget("a")
      expect(telemetry.logs("a", 10)).toEqual([])
      expect(telemetry.logs("b", 10)).toHaveLength(1)
    })

    it("lets followers hear what is recorded from then on, until their signal", async () => {
      await record("before")
      const ending = new AbortController()
      const events = telemetry.follow(ending.signal)[Symbol.asyncIterator]()
      const lines = telemetry.followLogs("svc", ending.signal)[Symbol.asyncIterator]()
      const event = events.next()
      const line = lines.next()
      await record("after")
      telemetry.logOf("other").write("stderr", "not this")
      telemetry.logOf("svc").write("stderr", "this")
      expect((await event).value).toMatchObject({ kind: "after" })
      expect((await line).value).toMatchObject({ text: "this" })
      ending.abort()
      expect((await events.next()).done).toBe(true)
      expect((await lines.next()).done).toBe(true)
    })
  })
}
