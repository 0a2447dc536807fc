import { ClarityError } from "@clarity-runtime/contracts"
import { describe, expect, it } from "vitest"
import { oneLine, printable } from "./escape.ts"
import { exitCodeOf, messageOf } from "./failure.ts"
import { shortened, span, table } from "./table.ts"

describe("text of others", () => {
  it("cannot steer a terminal or fake a line", () => {
    expect(printable("a\u001b[2Jb\u0007\r\u202ec\u0085\ttab\nline")).toBe(
      "a\\u{1b}[2Jb\\u{7}\\u{d}\\u{202e}c\\u{85}\ttab\nline",
    )
    expect(oneLine("  first\n   second \n")).toBe("first; second")
    expect(table(["A", "B"], [["x\ny", "\u001b"]])).toBe("A     B\nx; y  \\u{1b}")
  })
})

describe("a table", () => {
  it("aligns by characters and leaves no blanks at line ends", () => {
    expect(
      table(
        ["NAME", "X", "NOTE"],
        [
          ["ä", "1", ""],
          ["longer", "22", "n"],
        ],
      ),
    ).toBe("NAME    X   NOTE\nä       1\nlonger  22  n")
  })

  it("marks what it leaves out", () => {
    expect([shortened("äbcd", 4), shortened("äbcde", 4), shortened("ä b c", 3)]).toEqual(["äbcd", "äbc…", "ä…"])
  })

  it("says spans in their largest unit", () => {
    expect([0, 59.9, 60, 3599, 3600, 86_399, 200_000].map(span)).toEqual([
      "0 s",
      "59 s",
      "1 min",
      "59 min",
      "1 h",
      "23 h",
      "2 d",
    ])
  })
})

describe("a failure", () => {
  it("of a command that there is not is told as it was typed", () => {
    const error = Object.assign(new Error("command list:extra not found"), { oclif: { exit: 2 } })
    expect([messageOf(error), exitCodeOf(error)]).toEqual(["there is no command list extra; see --help", 2])
  })

  it("is one line, with its hint and the exit code of its kind", () => {
    const error = new ClarityError("unavailable", "not there\nat all", { data: { hint: "start it" } })
    expect([messageOf(error), exitCodeOf(error)]).toEqual(["not there; at all (start it)", 69])
    expect(messageOf(new ClarityError("unauthorized", "unauthorized"))).toContain("set CLARITYD_AUTH_TOKEN")
    expect([messageOf(new Error("x\n    at y")), exitCodeOf(new Error("x"))]).toEqual(["x; at y", 70])
    expect(messageOf(Object.assign(new Error("exit"), { code: "EEXIT", oclif: { exit: 3 } }))).toBeUndefined()
    expect(exitCodeOf(Object.assign(new Error("exit"), { code: "EEXIT", oclif: { exit: 3 } }))).toBe(3)
  })
})
