import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { createLineReader } from "./line-reader.ts"

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...at, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : at[index - 1], end))
}

const line = fc.oneof(
  fc.string({ unit: "binary" }).map((text) => text.toWellFormed().replaceAll("\n", "")),
  fc.constantFrom("\u2028", "\u0085", "\r", "\r\r", '{"a":"\u2029"}', "é".repeat(60)),
)

describe("the line reader of stdio services", () => {
  it("gives exactly what stands between line feeds, however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 12 }), (lines, places) => {
        const seen: string[] = []
        const reader = createLineReader(100_000, {
          line: (text) => seen.push(text),
          overlong: () => expect.unreachable(),
        })
        for (const chunk of cut(Buffer.from(lines.map((text) => `${text}\n`).join("")), places)) reader.push(chunk)
        reader.end()
        expect(seen).toEqual(lines.map((text) => text.replace(/\r$/, "")))
      }),
    )
  })

  it("holds no more than its bound, keeps each line that fits, and loses none of the others unsaid", () => {
    const max = 32
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.array(fc.nat(), { maxLength: 20 }), (raw, places) => {
        const bytes = Buffer.from(raw.map((byte) => (byte < 16 ? 10 : byte)))
        const sizes: number[] = []
        const reader = createLineReader(max, {
          line: (_text, size) => sizes.push(size),
          overlong: (_head, _tail, size) => {
            expect(size).toBeGreaterThan(max)
            sizes.push(size)
          },
        })
        for (const chunk of cut(bytes, places)) {
          reader.push(chunk)
          expect(reader.held).toBeLessThanOrEqual(max)
        }
        reader.end()
        const parts = bytes.toString("latin1").split("\n")
        if (parts.at(-1) === "") parts.pop()
        expect(sizes).toEqual(parts.map(({ length }) => length))
      }),
    )
  })
})
