import { spawn } from "node:child_process"
import { expect, it } from "vitest"
import { fixture, gone, lives } from "../test-fixtures/harness.ts"
import { createGuard } from "./guard.ts"

it.skipIf(process.platform === "win32")(
  "a guard starts with its first group, comes back when it is killed, and goes without harm when disposed",
  async () => {
    const child = spawn(process.execPath, [fixture("odd-server.mjs"), "silent"], { detached: true, stdio: "pipe" })
    const pid = child.pid ?? 0
    const told: string[] = []
    const guard = createGuard("f".repeat(32), (text) => void told.push(text))
    expect(guard.pid).toBe(undefined)
    guard.add(pid)
    const first = guard.pid ?? 0
    expect(lives(first)).toBe(true)
    process.kill(first, "SIGTERM")
    process.kill(first, "SIGINT")
    process.kill(first, "SIGKILL")
    while (guard.pid === undefined || guard.pid === first) await new Promise((resolve) => setTimeout(resolve, 5))
    const second = guard.pid
    expect(lives(second)).toBe(true)
    await guard[Symbol.asyncDispose]()
    await gone(second)
    expect(lives(pid)).toBe(true)
    expect(told).toEqual([])
    child.kill("SIGKILL")
    await gone(pid)
  },
)
