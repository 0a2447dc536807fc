import { spawn } from "node:child_process"
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises"
import { readdirSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { systemClock } from "@clarity-runtime/contracts"
import {
  connect,
  fixture,
  gone,
  hastyClock,
  lives,
  oddService,
  testServices,
  type Wire,
} from "../test-fixtures/harness.ts"
import { createLauncher, type Launcher } from "./launcher.ts"
import { reapLeftovers } from "./leftovers.ts"
import { cookieBearers, startTimeOf } from "./process-table.ts"

const linux = process.platform === "linux"
let stateDir: string
let launcher: Launcher

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "process-host-"))
  launcher = createLauncher({ stateDir, environment: process.env, budgetBytes: 2 ** 40, clock: systemClock })
})
afterEach(async () => {
  await launcher[Symbol.asyncDispose]()
  await rm(stateDir, { recursive: true, force: true })
})

const hasty = () => testServices({ clock: hastyClock })
const records = () => readdir(join(stateDir, "processes"))

async function familyOf(wire: Wire): Promise<number[]> {
  const { result } = (await wire.ask("family")) as {
    result: Record<"group" | "left", { pid: number }> & { pid: number }
  }
  const pids = [result.pid, result.group.pid, result.left.pid]
  expect(pids.filter((pid) => lives(pid))).toEqual(pids)
  return pids
}

describe("ending a child", () => {
  it("that hears the end of its input takes no signal", async () => {
    const wire = await connect(launcher, oddService("plain"))
    await wire.ask("echo")
    const { child } = wire.launched
    expect(await records()).toEqual([`${child.pid}.json`])
    await wire.transport[Symbol.asyncDispose]()
    expect(await child.ended).toBe("exited with code 0")
    expect(await wire.closed).toBe(undefined)
    expect(await records()).toEqual([])
  })

  it("that ignores the end of its input and SIGTERM takes SIGKILL", async () => {
    const wire = await connect(launcher, oddService("stubborn"), hasty())
    await wire.ask("echo")
    await wire.transport[Symbol.asyncDispose]()
    expect(await wire.launched.child.ended).toMatch(/^was killed by SIGKILL/)
    expect(lives(wire.launched.child.pid)).toBe(false)
  })

  it("takes the stubborn descendants in its group and those that left it along", async () => {
    const wire = await connect(launcher, oddService("plain"), hasty())
    const family = await familyOf(wire)
    await wire.transport[Symbol.asyncDispose]()
    expect(family.filter((pid) => lives(pid))).toEqual([])
    expect(await records()).toEqual([])
  })

  it("that crashed takes its descendants along, unasked", async () => {
    const wire = await connect(launcher, oddService("plain"), hasty())
    const family = await familyOf(wire)
    process.kill(wire.launched.child.pid, "SIGKILL")
    await wire.closed
    await Promise.all(family.map(gone))
    await wire.launched.stop("now")
    expect(await records()).toEqual([])
  })

  it("behind a wrapper script ends the program too", async () => {
    const args = [process.execPath, fixture("odd-server.mjs"), "stubborn"]
    const wire = await connect(launcher, oddService("", { command: fixture("wrapper.sh"), args }), hasty())
    const family = await familyOf(wire)
    expect(family).not.toContain(wire.launched.child.pid)
    await wire.transport[Symbol.asyncDispose]()
    expect([...family, wire.launched.child.pid].filter((pid) => lives(pid))).toEqual([])
  })

  it("happens to all of them when the launcher is disposed", async () => {
    const wires = await Promise.all([1, 2, 3].map(() => connect(launcher, oddService("plain"))))
    await Promise.all(wires.map((wire) => wire.ask("echo")))
    await launcher[Symbol.asyncDispose]()
    expect(wires.filter((wire) => lives(wire.launched.child.pid))).toEqual([])
    await expect(connect(launcher, oddService("plain"))).rejects.toThrow("the daemon is stopping")
  })

  it.runIf(linux)(
    "200 times over leaves no process, no file descriptor and no file",
    async () => {
      const first = await connect(launcher, oddService("plain"))
      await first.ask("echo")
      await first.transport[Symbol.asyncDispose]()
      const descriptors = readdirSync("/proc/self/fd").length
      const pids: number[] = []
      for (let round = 0; round < 25; round++) {
        const wires = await Promise.all(Array.from({ length: 8 }, () => connect(launcher, oddService("silent"))))
        pids.push(...wires.map((wire) => wire.launched.child.pid))
        await Promise.all(wires.map((wire) => wire.transport[Symbol.asyncDispose]()))
      }
      expect(new Set(pids).size).toBeGreaterThan(190)
      expect(pids.filter((pid) => lives(pid))).toEqual([])
      expect(await records()).toEqual([])
      expect(launcher.usage().processes).toBe(0)
      // A child's streams close a turn or two after it.
      while (readdirSync("/proc/self/fd").length > descriptors) await new Promise((resolve) => setTimeout(resolve, 20))
    },
    120_000,
  )
})

describe("kill -9 of the daemon", () => {
  async function killedHost(directory: string, withGuard: boolean) {
    const host = spawn(
      process.execPath,
      ["--conditions=@clarity-runtime/source", fixture("host.mjs"), directory, "stubborn"],
      { stdio: ["ignore", "pipe", "inherit"] },
    )
    const line = await new Promise<Buffer>((resolve) => host.stdout.once("data", resolve))
    const { pids, guard } = JSON.parse(line.toString()) as { pids: number[]; guard: number }
    expect(lives(guard)).toBe(true)
    expect(pids.filter((pid) => lives(pid))).toEqual(pids)
    // Stopped first, so that it can neither tidy up nor start another guard.
    host.kill("SIGSTOP")
    if (withGuard) process.kill(guard, "SIGKILL")
    const ended = new Promise((resolve) => host.once("exit", resolve))
    host.kill("SIGKILL")
    await ended
    return pids
  }

  it.runIf(process.platform !== "win32")("leaves nothing: the guard ends even stubborn children", async () => {
    const pids = await killedHost(stateDir, false)
    const bound = linux ? pids : pids.slice(0, 2)
    await Promise.all(bound.map(gone))
    expect(bound.filter((pid) => lives(pid))).toEqual([])
  })

  it.runIf(linux)("and of the guard leaves what the next start ends, whoever their leader was", async () => {
    const pids = await killedHost(stateDir, true)
    const [leader] = pids
    // Of one family the leader is gone already; its stubborn descendants are not.
    process.kill(leader ?? 0, "SIGKILL")
    await gone(leader ?? 0)
    expect(pids.slice(1).filter((pid) => lives(pid))).toEqual(pids.slice(1))
    expect(await reapLeftovers(stateDir)).toEqual({ services: ["svc_odd"], processes: 2 })
    expect(pids.filter((pid) => lives(pid))).toEqual([])
    expect(await records()).toEqual([])
    expect(await reapLeftovers(stateDir)).toEqual({ services: [], processes: 0 })
  })
})

describe.runIf(linux)("reaping", () => {
  it("leaves a living daemon's children alone", async () => {
    const wire = await connect(launcher, oddService("plain"))
    await wire.ask("echo")
    expect(await reapLeftovers(stateDir)).toEqual({ services: [], processes: 0 })
    expect(await wire.ask("echo", { still: "here" })).toMatchObject({ result: { still: "here" } })
  })

  it("touches no process that lacks the cookie, even under a recorded pid and start time", async () => {
    const stranger = spawn(process.execPath, [fixture("odd-server.mjs"), "silent"], { detached: true, stdio: "pipe" })
    const pid = stranger.pid ?? 0
    const record = {
      pid,
      startTime: await startTimeOf(pid),
      cookie: `${"0".repeat(32)}.${"0".repeat(32)}`,
      service: "svc_odd",
      owner: { pid: 2 ** 22 + 1, startTime: "1" },
    }
    await mkdir(join(stateDir, "processes"), { recursive: true })
    await writeFile(join(stateDir, "processes", `${pid}.json`), JSON.stringify(record))
    await writeFile(join(stateDir, "processes", "77.json"), '{"pid": 77, "startTi')
    await writeFile(join(stateDir, "processes", "notes.txt"), "not ours")
    expect(await reapLeftovers(stateDir)).toEqual({ services: [], processes: 0 })
    expect(lives(pid)).toBe(true)
    expect(await records()).toEqual(["notes.txt"])
    stranger.kill("SIGKILL")
    await gone(pid)
  })

  it("happens by itself before a launcher's first start", async () => {
    const wire = await connect(launcher, oddService("stubborn"), hasty())
    const family = await familyOf(wire)
    const file = join(stateDir, "processes", `${wire.launched.child.pid}.json`)
    const record = JSON.parse(await readFile(file, "utf8")) as { owner: object }
    await writeFile(file, JSON.stringify({ ...record, owner: { pid: 2 ** 22 + 1, startTime: "1" } }))
    const next = createLauncher({ stateDir, environment: process.env, budgetBytes: 2 ** 40, clock: systemClock })
    // Another service: the first launcher lives, and clears the folder of the one it loses.
    await connect(next, { ...oddService("plain"), id: "svc_next" })
    expect(family.filter((pid) => lives(pid))).toEqual([])
    await next[Symbol.asyncDispose]()
  })
})

describe.runIf(linux)("what a child has", () => {
  it("is six inherited variables, the declared ones and the cookie", async () => {
    await launcher[Symbol.asyncDispose]()
    const canaries = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`CANARY_${n}`, "sings"]))
    const environment = {
      ...process.env,
      ...canaries,
      HOME: "/h",
      LOGNAME: "l",
      SHELL: "/s",
      TERM: "t",
      USER: "() { :; }",
    }
    launcher = createLauncher({ stateDir, environment, budgetBytes: 2 ** 40, clock: systemClock })
    const env = [
      { name: "TERM", value: "declared" },
      { name: "TOKEN", secretRef: "env:GOOD" },
    ]
    const services = testServices()
    const wire = await connect(launcher, oddService("plain", { env }), services)
    const { result } = (await wire.ask("environment")) as { result: Record<string, string> }
    const { CLARITY_PROCESS_COOKIE: cookie, PATH: path, ...rest } = result
    expect(rest).toEqual({ HOME: "/h", LOGNAME: "l", SHELL: "/s", TERM: "declared", TOKEN: "s3cret-value" })
    expect(path).toBe(process.env["PATH"])
    expect(await cookieBearers()).toContainEqual({ pid: wire.launched.child.pid, cookie })
    const record = await readFile(join(stateDir, "processes", `${wire.launched.child.pid}.json`), "utf8")
    expect(record).not.toContain("s3cret")
    expect(wire.launched.redact("Bearer s3cret-value refused")).toBe("Bearer [secret] refused")
  })

  it("are three file descriptors, whatever the daemon has open", async () => {
    const secret = await open(fixture("wrapper.sh"))
    const stdio = ["ignore", "pipe", "inherit", ...Array<"ignore">(20).fill("ignore"), secret.fd] as const
    const host = spawn(process.execPath, ["--conditions=@clarity-runtime/source", fixture("host.mjs"), "", "files"], {
      stdio: [...stdio],
    })
    let text = ""
    host.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()))
    await new Promise((resolve) => host.once("close", resolve))
    await secret.close()
    const links = (JSON.parse(text) as string[]).flatMap((line) => /(\d+ -> .*)$/.exec(line)?.[1] ?? [])
    expect(links.filter((link) => /^[012] -> socket:/.test(link))).toHaveLength(3)
    // `ls` itself has the directory open; over what the daemon passes on lies /dev/null.
    expect(links.filter((link) => !/^[012] -> | -> \/proc\/\d+\/fd$| -> \/dev\/null$/.test(link))).toEqual([])
    expect(links).toContain("23 -> /dev/null")
  })

  it("are a private directory and a mask that keeps others out", async () => {
    const mask = process.umask()
    const wire = await connect(launcher, oddService("plain"))
    const { result } = (await wire.ask("place")) as { result: { cwd: string; umask: number } }
    expect(process.umask()).toBe(mask)
    expect(result.cwd).toBe(join(stateDir, "work", "svc_odd"))
    expect((await stat(result.cwd)).mode & 0o777).toBe(0o700)
    expect(result.umask).toBe(0o077)
    expect((await stat(join(result.cwd, "written-here"))).mode & 0o777).toBe(0o600)
    expect((await stat(join(stateDir, "processes"))).mode & 0o777).toBe(0o700)
    const other = await connect(launcher, oddService("plain"), testServices({ isolationKey: "user:../../alice" }))
    const place = (await other.ask("place")) as { result: { cwd: string } }
    expect(place.result.cwd).toMatch(new RegExp(`^${join(stateDir, "work", "svc_odd-")}[0-9a-f]{16}$`))
  })

  it("are its arguments as they were written", async () => {
    const words = ["$(id)", "a b", ";", "&&", "`x`", "line\nbreak", "EOF", "\"quoted'", ""]
    const args = [fixture("odd-server.mjs"), "plain", ...words]
    const wire = await connect(launcher, oddService("plain", { args }))
    expect(await wire.ask("arguments")).toMatchObject({ result: words })
  })
})
