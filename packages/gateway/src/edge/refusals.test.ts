import { ClarityError, type TimelineEvent } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, expect, it, vi } from "vitest"
import { createRefusals, type Refusals } from "./refusals.ts"

let events: TimelineEvent[] = []
let refusals: Refusals
beforeEach(() => {
  vi.useFakeTimers()
  events = []
  refusals = createRefusals({ record: (event) => void events.push(event), logOf: () => ({ write: () => {} }) })
})
afterEach(() => {
  refusals[Symbol.dispose]()
  vi.useRealTimers()
})

const request = { method: "POST", path: "/mcp", peer: "127.0.0.1" }
const refuse = (message = "unauthorized", code: "unauthorized" | "forbidden" = "unauthorized") =>
  refusals.record(new ClarityError(code, message), request)
const repeated = () => events.map(({ data }) => data?.["repeated"])

it("a refusal is one record, with code, reason and where it came from", () => {
  const error = new ClarityError("forbidden", "this Host is not served here", { data: { reason: "host_rejected" } })
  refusals.record(error, { ...request, principal: "token:ci" })
  refusals.record(error, request)
  expect(events).toEqual([
    {
      kind: "edge.refused",
      level: "warn",
      message: "this Host is not served here",
      data: { decision: "deny", code: "forbidden", reason: "host_rejected", principal: "token:ci", ...request },
    },
  ])
})

it("what is on record already is left alone", () => {
  const error = new Error("of somebody else's")
  refusals.know(error)
  refusals.record(error, request)
  expect(events).toEqual([])
})

it("a flood of equal ones is the first at once and then counts, ever more seldom, none of them lost", () => {
  for (let ms = 0; ms < 600_000; ms += 10) {
    refuse()
    vi.advanceTimersByTime(10)
  }
  expect(repeated().slice(0, 4)).toEqual([undefined, 99, 200, 400])
  expect(events.length).toBeLessThan(20)
  refusals[Symbol.dispose]()
  const told = repeated().reduce((sum: number, count) => sum + Number(count ?? 1), 0)
  expect(told).toBe(60_000)
})

it("one after a pause is told at once again", () => {
  refuse()
  vi.advanceTimersByTime(3000)
  refuse()
  expect(repeated()).toEqual([undefined, undefined])
})

it("ever different words do not help: beyond the first ones only codes are told apart", () => {
  for (let n = 0; n < 10_000; n++) refuse(`method not found: ${n}`)
  refuse("another", "forbidden")
  expect(events).toHaveLength(66)
  vi.advanceTimersByTime(1000)
  expect(events.at(-1)).toMatchObject({ message: "refused: unauthorized", data: { repeated: 9935 } })
  for (let second = 0; second < 600; second++) {
    for (let n = 0; n < 100; n++) refuse(`again ${second} ${n}`)
    vi.advanceTimersByTime(1000)
  }
  expect(events.length).toBeLessThan(66 + 3 * 600)
})
