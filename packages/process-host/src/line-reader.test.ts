import { describe, expect, it } from "vitest"
import { createLineReader } from "./line-reader.ts"

function reader(maxBytes: number) {
  const seen: unknown[] = []
  const lines = createLineReader(maxBytes, {
    line: (text, bytes) => seen.push([text, bytes]),
    overlong: (head, tail, bytes) => seen.push({ head, tail, bytes }),
  })
  return { lines, seen }
}

describe("a line reader", () => {
  it("gives the same lines however the bytes are cut", () => {
    const text = "one\r\ntw\u00f6 \u{1f600}\u2028still two\n\nfour\rstill four\n\r\nlast"
    const bytes = Buffer.from(text)
    const expected = ["one", "tw\u00f6 \u{1f600}\u2028still two", "", "four\rstill four", "", "last"]
    for (let size = 1; size <= bytes.length; size++) {
      const { lines, seen } = reader(100)
      for (let at = 0; at < bytes.length; at += size) lines.push(bytes.subarray(at, at + size))
      lines.end()
      expect(seen.map((line) => (line as [string])[0])).toEqual(expected)
    }
  })

  it.each([1, 7, 64, 1000])("keeps a line of the limit and drops one of a byte more, in chunks of %i", (size) => {
    const { lines, seen } = reader(300)
    const text = `${"a".repeat(300)}\n${"b".repeat(301)}\n${"c".repeat(6400)}\nd\n`
    for (let at = 0; at < text.length; at += size) lines.push(Buffer.from(text.slice(at, at + size)))
    expect(seen).toEqual([
      ["a".repeat(300), 300],
      { head: "b".repeat(256), tail: "b".repeat(256), bytes: 301 },
      { head: "c".repeat(256), tail: "c".repeat(256), bytes: 6400 },
      ["d", 1],
    ])
    expect(lines.held).toBe(0)
  })

  it("holds nothing of a line it has given up", () => {
    const { lines, seen } = reader(1024)
    for (let n = 0; n < 1000; n++) lines.push(Buffer.alloc(1024, "x"))
    expect(lines.held).toBe(0)
    lines.end()
    expect(seen).toEqual([{ head: "x".repeat(256), tail: "x".repeat(256), bytes: 1_024_000 }])
  })

  it("keeps the ends of a dropped line in order", () => {
    const { lines, seen } = reader(8)
    for (const part of ['{"id":7,', '"result":', '"much"', ',"x":1}\r\n']) lines.push(Buffer.from(part))
    expect(seen).toEqual([{ head: '{"id":7,"result":', tail: '{"id":7,"result":"much","x":1}', bytes: 31 }])
  })
})
