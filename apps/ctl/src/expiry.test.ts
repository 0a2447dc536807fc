import { expect, it } from "vitest"
import { expiryOf } from "./expiry.ts"

const now = Date.UTC(2026, 0, 1)

it.each([
  ["90m", "2026-01-01T01:30:00.000Z"],
  ["12h", "2026-01-01T12:00:00.000Z"],
  ["30d", "2026-01-31T00:00:00.000Z"],
  ["2w", "2026-01-15T00:00:00.000Z"],
  ["2027-01-31", "2027-01-31T00:00:00.000Z"],
  ["2027-01-31T02:00:00+02:00", "2027-01-31T00:00:00.000Z"],
])("%s ends at %s", (text, end) => expect(expiryOf(text, now)).toBe(end))

it.each([
  "",
  "30",
  "0d",
  "-1d",
  "1.5d",
  "30days",
  "1y",
  "999999w",
  "tomorrow",
  "2027-13-01",
  "2027-01-31T00:00:00",
  "2027",
])("%j is no expiry", (text) => expect(() => expiryOf(text, now)).toThrow("--expires takes"))
