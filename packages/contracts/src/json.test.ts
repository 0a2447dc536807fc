import { describe, expect, test } from "vitest"
import { parseJson } from "./json.ts"

describe("parseJson", () => {
  test.each([
    "12345678901234567890",
    "-9007199254740993",
    "9007199254740991",
    "1e400",
    "0.1234567890123456789",
    "1234567890123456",
    "123456789012345",
  ])("%s keeps its digits when it is an integer no double can hold, wherever it stands", (number) => {
    for (let offset = 0; offset < 40; offset++) {
      const text = `{"${"p".repeat(offset)}":[${number},"${"1".repeat(offset)}"]}`
      const kept = /^-?\d+$/.test(number) ? text : JSON.stringify(JSON.parse(text))
      expect(JSON.stringify(parseJson(text))).toBe(kept)
    }
  })

  test("digits in texts stay texts", () => {
    expect(parseJson(`{"id":"${"9".repeat(1000)}","n":1}`)).toEqual({ id: "9".repeat(1000), n: 1 })
  })
})

describe("nesting", () => {
  const opened = ["[", '{"a":', '[{"b":', "[\n  "]

  test.each(opened)("beyond all measure is refused without being parsed (%j)", (opening) => {
    const started = '{"jsonrpc":"2.0","result":'
    expect(() => parseJson(started + opening.repeat(100_000))).toThrow("nested deeper than 1000")
  })

  test("that somebody may mean is parsed, and brackets in texts are none", () => {
    expect(parseJson("[".repeat(900) + "]".repeat(900))).toHaveLength(1)
    const drawn = '\\"[{'.repeat(50_000)
    expect(parseJson(`{"text":"${drawn}"}`)).toEqual({ text: '"[{'.repeat(50_000) })
    const flat = JSON.stringify(Array.from({ length: 50_000 }, () => [{}]))
    expect(parseJson(flat)).toHaveLength(50_000)
  })
})
