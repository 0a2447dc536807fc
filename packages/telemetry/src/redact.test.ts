import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { oneLine } from "./one-line.ts"
import { redact } from "./redact.ts"

describe("redact", () => {
  test.each([
    "Authorization: Bearer canary",
    "authorization=canary",
    'headers {"Authorization":"Basic Y2FuYXJ5OmNhbmFyeQ== canary"}',
    "got bearer canary-123",
    "Basic Y2FuYXJ5OmNhbmFyeQ==",
    "Cookie: session=canary; other=canary",
    "CLARITYD_AUTH_TOKEN=canary",
    "api_key: canary, next",
    '{"apiKey":"canary with spaces","x":1}',
    '{\\"password\\":\\"canary\\"}',
    "--password='canary x'",
    "GET /x?key=canary&y=1",
    "client_secret=canary",
    "https://user:canary@example.com/x",
    "sk-canary-0123456789",
    "ghp_canary0123456789",
    "xoxb-canary-0123456789",
    "AKIACANARYCANARY0000",
    "eyJcanarycanary.eyJcanary.canary",
    "-----BEGIN RSA PRIVATE KEY-----\ncanary",
  ])("%s", (text) => {
    const clean = redact(text)
    expect(clean).toContain("[redacted]")
    expect(clean).not.toMatch(/canary|Y2FuYXJ5/i)
    expect(redact(clean)).toBe(clean)
  })

  test.each([
    "called echo in 3 ms",
    "input tokens 12, total tokens: 40",
    "key: value",
    "monkey=banana",
    "https://example.com/a@b",
    "the bearer of news",
    "task-force",
    "token:ci lacks the scope 'call'",
  ])("%s is left alone or nearly so", (text) => {
    expect(redact(text).length).toBeGreaterThanOrEqual(text.length - 6)
  })

  test("never grows without bound, and a line never over its limit", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "token=",
        "key=",
        "://",
        "@",
        "Bearer ",
        '"',
        "\\",
        "sk-",
        "eyJ",
        "password:",
        "\n",
        "\u2028",
        "é",
        "\ud83d",
        "[redacted]",
        " ",
        "a",
      ),
      fc.string({ unit: "binary", maxLength: 5 }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 300 }), fc.integer({ min: 8, max: 400 }), (pieces, limit) => {
        const text = pieces.join("")
        expect(redact(text).length).toBeLessThanOrEqual(4 * text.length)
        const line = oneLine(text, limit)
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(limit)
        // oxlint-disable-next-line no-control-regex
        expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        expect(line.isWellFormed()).toBe(true)
      }),
      { numRuns: 500 },
    )
  })
})
