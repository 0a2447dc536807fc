import { describe, expect, it } from "vitest"
import { namePattern } from "./patterns.ts"

describe("name patterns", () => {
  it.each([
    [["notes"], "notes", true],
    [["notes"], "notes2", false],
    [["delete_*"], "delete_", true],
    [["delete_*"], "undelete_all", false],
    [["*_all"], "delete_all", true],
    [["a*b*c"], "a-b-b-c", true],
    [["a*b*c"], "ac", false],
    [["ab*bc"], "abc", false],
    [["*"], "", true],
    [[], "anything", false],
    [["x", "y*"], "yes", true],
  ])("%j against %s: %s", (patterns, name, expected) => {
    expect(namePattern(patterns, "exact")(name)).toBe(expected)
    expect(namePattern(patterns, "folded")(name)).toBe(expected)
  })

  it.each(["DELETE_ALL", "ｄelete_all", "del\u200bete_all", "Delete_\u2060all"])(
    "folded, %s is delete_all; exactly, it is not",
    (name) => {
      expect(namePattern(["delete_*"], "folded")(name)).toBe(true)
      expect(namePattern(["delete_*"], "exact")(name)).toBe(name === "delete_all")
    },
  )

  it("takes linear time for what would make a regular expression backtrack", () => {
    const pattern = namePattern([`${"*a".repeat(200)}b`], "folded")
    expect(pattern("a".repeat(8192))).toBe(false)
  })
})
