import { expect, test } from "vitest"
import { encodeHeaderValue } from "./modern-headers.ts"

const sentinel = (text: string) => `=?base64?${Buffer.from(text).toString("base64")}?=`

test.each(["plain", "with space inside", '!"#~', "=?base64?", "test://static-text?x=%20", "a"])(
  "%j goes as it is",
  (value) => {
    expect(encodeHeaderValue(value)).toBe(value)
  },
)

test.each([
  " leading",
  "trailing ",
  "Zürich",
  "日本",
  "line\nbreak",
  "tab\there",
  "\u007f",
  "=?base64?QQ==?=",
  " ",
  "\ud800",
])("%j is encoded, and comes back as it was", (value) => {
  const encoded = encodeHeaderValue(value)
  expect(encoded).toBe(sentinel(value))
  expect(encoded).toMatch(/^[\x21-\x7e]+$/)
})
