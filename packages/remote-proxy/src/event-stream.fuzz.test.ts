import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { systemClock } from "@clarity-runtime/contracts"
import { createPace, TransportError } from "@clarity-runtime/mcp-peer"
import { readEvents, type StreamMemory } from "./event-stream.ts"

async function* cut(bytes: Buffer, places: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0
  for (const place of places.map((given) => given % (bytes.length + 1)).sort((a, b) => a - b)) {
    yield bytes.subarray(from, place)
    from = place
  }
  yield bytes.subarray(from)
}

const text = fc.oneof(
  fc.string({ unit: "binary" }).map((given) => given.toWellFormed()),
  fc.constantFrom("\u2028", "data: x", ": comment", "é".repeat(30)),
)
const places = fc.array(fc.nat(), { maxLength: 16 })
const ending = fc.constantFrom("\n", "\r\n", "\r")

async function read(chunks: AsyncGenerator<Uint8Array>, maxChars = 1_000_000, memory?: StreamMemory) {
  const seen: string[] = []
  const sink = {
    name: "up",
    maxChars,
    pace: createPace(systemClock),
    clock: systemClock,
    signal: new AbortController().signal,
    ...(memory ? { memory } : {}),
    alive() {},
    event: (data: string) => {
      seen.push(data)
      return false
    },
  }
  await readEvents(chunks, sink)
  return seen
}

describe("the reader of server-sent events", () => {
  it("gives back the data of every event, whatever the line ends and however the bytes are cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 8 }), ending, places, async (events, end, where) => {
        const values = events.map((value) => JSON.stringify({ value }))
        const wire = values.map((data) => `: hello${end}event: message${end}data: ${data}${end}${end}`).join("")
        expect(await read(cut(Buffer.from(wire), where))).toEqual(values)
      }),
    )
  })

  it("answers any bytes with events or a named error, and keeps its own bounds on what the stream says of itself", async () => {
    const field = fc.tuple(
      fc.constantFrom("data", "id", "retry", "event", "", "data ", "\0", "DATA"),
      fc.oneof(text, fc.nat().map(String), fc.constantFrom("1e99", "-1", "0", "99999999999999999999")),
      ending,
    )
    const wire = fc.oneof(
      fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
      fc
        .array(field, { maxLength: 20 })
        .map((fields) => Buffer.from(fields.map(([k, v, e]) => `${k}:${v}${e}`).join(""))),
    )
    await fc.assert(
      fc.asyncProperty(wire, places, async (bytes, where) => {
        const memory: StreamMemory = { lastEventId: undefined, retryMs: undefined }
        try {
          await read(cut(bytes, where), 64, memory)
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(TransportError)
        }
        expect(memory.retryMs ?? 100).toBeGreaterThanOrEqual(100)
        expect(memory.retryMs ?? 100).toBeLessThanOrEqual(30_000)
        expect(memory.lastEventId ?? "x").toMatch(/^[\x21-\x7e]{1,1024}$/)
      }),
    )
  })
})
