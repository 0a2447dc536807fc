import { describe, expect, it } from "vitest"
import { growthPercent } from "./heap-room.ts"

const mebibyte = 1024 * 1024

describe("the room of a heap", () => {
  it.each([
    [4, 500],
    [32, 200],
    [48, 133],
    [64, 0],
    [1000, 0],
  ])("of %i MB is %i percent; 0 leaves it to V8", (megabytes, percent) => {
    expect(growthPercent(megabytes * mebibyte)).toBe(percent)
  })
})
