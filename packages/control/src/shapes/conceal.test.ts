import { describe, expect, it } from "vitest"
import { concealArguments } from "./conceal.ts"

describe("arguments of a program, as they are shown", () => {
  it.each([
    [["--api-key=s3cret"], ["--api-key=***"]],
    [
      ["--token", "s3cret", "on"],
      ["--token", "***", "on"],
    ],
    [
      ["--header", "Authorization: Bearer s3cret"],
      ["--header", "Authorization: ***"],
    ],
    [
      ["-H", "x-api-key:s3cret"],
      ["-H", "x-api-key: ***"],
    ],
    [["--header=Authorization: Bearer s3cret"], ["--header=Authorization: ***"]],
    [["--header=Cookie: id=s3cret"], ["--header=Cookie: ***"]],
    [["Bearer s3cret"], ["Bearer ***"]],
    [["DATABASE_URL=postgres://me:s3cret@db/x"], ["DATABASE_URL=postgres://db/x"]],
    [["https://a.example/mcp?key=s3cret"], ["https://a.example/mcp?key=***"]],
    [
      ["--level=info", "a:b", "C:\\data", "https://a.example/x", "key://a.example"],
      ["--level=info", "a:b", "C:\\data", "https://a.example/x", "key://a.example"],
    ],
  ])("%j", (given, shown) => {
    expect(concealArguments(given)).toEqual(shown)
  })
})
