import { describe, expect, it } from "vitest"
import { oddService, testServices } from "../test-fixtures/harness.ts"
import { childEnvironment } from "./environment.ts"

describe("the environment of a child", () => {
  const build = (names: readonly string[]) => {
    const entries = names.map((name) => ({ name, value: `value of ${name}` }))
    return childEnvironment(
      oddService("plain"),
      entries,
      { HOME: "/home/x", SECRET: "no" },
      testServices().credentials,
      "c",
    )
  }

  it("has declared variables under any name, also those that objects have of their own", async () => {
    const names = ["__proto__", "constructor", "toString", "MINE"]
    const { variables } = await build(names)
    expect(Object.keys(variables).toSorted()).toEqual([...names, "CLARITY_PROCESS_COOKIE", "HOME"].toSorted())
    for (const name of names) expect(variables[name]).toBe(`value of ${name}`)
  })

  it("has nothing that was not declared or is not one of the few", async () => {
    const { variables } = await build([])
    const given: string[] = []
    // What a program is given includes what its environment inherits.
    for (const name in variables) given.push(name)
    expect(given.toSorted()).toEqual(["CLARITY_PROCESS_COOKIE", "HOME"])
  })
})
