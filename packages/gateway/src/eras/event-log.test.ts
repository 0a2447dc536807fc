import { describe, expect, it } from "vitest"
import { createEventLog } from "./event-log.ts"

async function read(response: Response): Promise<string[]> {
  return (await response.text())
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => line.slice(6))
}

describe("an event log", () => {
  it("gives a second stream what no stream has taken, or all from a number on", async () => {
    const room = { used: 0, max: 1000 }
    const log = createEventLog("s", room)
    log.send("one")
    const first = log.attach()
    log.send("two")
    const second = log.attach()
    log.send("three")
    const third = log.attach(1)
    log.end()
    expect(await read(first)).toEqual(["one", "two"])
    expect(await read(second)).toEqual(["three"])
    expect(await read(third)).toEqual(["two", "three"])
  })

  it("shares its room with others and gives it back", () => {
    const room = { used: 0, max: 100 }
    const logs = [createEventLog("a", room), createEventLog("b", room)]
    for (let i = 0; i < 20; i++) for (const log of logs) log.send("x".repeat(10))
    expect(room.used).toBeLessThanOrEqual(110)
    for (const log of logs) log.forget()
    expect(room.used).toBe(0)
  })
})
