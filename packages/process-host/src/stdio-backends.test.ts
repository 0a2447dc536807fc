import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { callContext, collect, legacyClient, modernClient, textOf, toolCall } from "@clarity-runtime/testkit"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Backend, Change } from "@clarity-runtime/contracts"
import { fixture, gone, lives, oddService, testServices, type OriginWords } from "../test-fixtures/harness.ts"
import { stdioBackends, type StdioBackends } from "./stdio-backends.ts"

const signal = new AbortController().signal
let stateDir: string
let factory: StdioBackends

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "stdio-backends-"))
  factory = stdioBackends({ stateDir })
})
afterEach(async () => {
  await factory[Symbol.asyncDispose]()
  await rm(stateDir, { recursive: true, force: true })
})

const sdk = (line: "v1" | "v2", origin: OriginWords = {}) =>
  oddService("", { args: [fixture(`sdk-${line}-server.mjs`)], ...origin })
const pidOf = (backend: Backend) => backend.vitals?.().pid ?? 0

describe.each([
  ["v1", "legacy"],
  ["v2", "modern"],
] as const)("a server made with the SDK %s", (line, era) => {
  it("is described and called", async () => {
    const backend = await factory.open(sdk(line), testServices(), signal)
    const face = await backend.describe(signal)
    expect(face.tools.map(({ name }) => name)).toEqual(["say", "die", "hang"])
    expect(face.protocol?.eras).toContain(era)
    for (const client of [legacyClient, modernClient]) {
      const text = "one\u2028two \u{1f600}\n".repeat(20_000)
      const { result } = await collect(backend.call(toolCall("say", { text }), callContext({ client })))
      expect(textOf(result)).toBe(text)
    }
    await backend[Symbol.asyncDispose]()
    expect(backend.vitals?.()).toEqual({})
  })

  it("serves many calls at once", async () => {
    const backend = await factory.open(sdk(line), testServices(), signal)
    const texts = Array.from({ length: 100 }, (_, n) => `text ${n}`)
    const replies = await Promise.all(
      texts.map((text) => collect(backend.call(toolCall("say", { text }), callContext()))),
    )
    expect(replies.map(({ result }) => textOf(result))).toEqual(texts)
  })

  it("that dies under a call ends it with an unknown outcome, and the watch with how it died", async () => {
    const backend = await factory.open(sdk(line), testServices(), signal)
    const pid = pidOf(backend)
    const changes: Change[] = []
    const begun = Promise.withResolvers<void>()
    const watching = (async () => {
      for await (const change of backend.watch?.({ lists: true }, signal) ?? []) {
        changes.push(change)
        begun.resolve()
      }
    })()
    await begun.promise
    await expect(collect(backend.call(toolCall("die"), callContext()))).rejects.toMatchObject({
      code: "outcome_unknown",
    })
    await watching
    expect(changes.at(-1)).toEqual({ kind: "exit", reason: 'service "odd": its process exited with code 4' })
    expect(lives(pid)).toBe(false)
    await expect(collect(backend.call(toolCall("say", { text: "" }), callContext()))).rejects.toMatchObject({
      code: "unavailable",
    })
  })
})

describe("opening", () => {
  const refusals: readonly [string, OriginWords, object][] = [
    ["a command nobody has", { command: "npxx" }, { message: /"npxx" is not on the daemon's PATH/ }],
    ["a shell line", { command: "sh -c 'id'" }, { data: { hint: /every argument as its own entry of args/ } }],
    ["a path that leads nowhere", { command: "./no/such" }, { message: /"\.\/no\/such" does not exist/ }],
    ["a file that may not be executed", { command: fixture("odd-server.mjs") }, { data: { hint: /chmod \+x/ } }],
    [
      "a working directory that is not there",
      { cwd: "/no/such/place" },
      { message: /working directory "\/no\/such\/place" does not exist/ },
    ],
    ["a working directory that is a file", { cwd: fixture("wrapper.sh") }, { message: /is not a directory/ }],
  ]
  it.each(refusals)("%s is refused, with a hint, by opening and by inspecting", async (_, origin, expected) => {
    for (const attempt of [
      () => factory.open(oddService("plain", origin), testServices(), signal),
      async () => factory.inspect?.(oddService("plain", origin), signal),
    ]) {
      const thrown = await attempt().catch((error: unknown) => error)
      const { message, data, code } = thrown as { message: string; data: { hint: string }; code: string }
      expect(code).toBe("unavailable")
      expect(data.hint.length).toBeGreaterThan(10)
      const wanted = expected as { message?: RegExp; data?: { hint: RegExp } }
      expect(message).toMatch(wanted.message ?? /./)
      expect(data.hint).toMatch(wanted.data?.hint ?? /./)
    }
    expect(factory.usage().processes).toBe(0)
  })

  it("a script without its interpreter says so", async () => {
    const script = join(stateDir, "script")
    await writeFile(script, "#!/no/such/interpreter\n", { mode: 0o755 })
    await expect(factory.open(oddService("", { command: script }), testServices(), signal)).rejects.toThrow(
      /the interpreter named in the first line/,
    )
  })

  it("a child that quits at once throws what it said", async () => {
    await expect(factory.open(oddService("quits"), testServices(), signal)).rejects.toMatchObject({
      code: "unavailable",
      message: 'service "odd": its process exited with code 3 before it answered',
      data: { reason: "starting\nTypeError: no config found", hint: /run the command by hand/ },
    })
    expect(factory.usage().processes).toBe(0)
  })

  it("a child that says nothing is given up and ended", async () => {
    await factory[Symbol.asyncDispose]()
    factory = stdioBackends({ stateDir, startTimeoutMs: 300 })
    await expect(factory.open(oddService("silent"), testServices(), signal)).rejects.toMatchObject({
      code: "upstream_timeout",
    })
    expect(factory.usage().processes).toBe(0)
  })

  it("a child that prints garbage is given up and ended", async () => {
    await expect(factory.open(oddService("garbage"), testServices(), signal)).rejects.toMatchObject({
      code: "upstream_invalid",
      data: { hint: /nothing but messages on stdout/ },
    })
    expect(factory.usage().processes).toBe(0)
  })

  it("ends everything begun when its signal aborts", async () => {
    const leaving = new AbortController()
    const services = testServices({
      log: { write: (_, text) => void (text.includes("ready") && leaving.abort()) },
    })
    const args = ["-c", "echo ready >&2; sleep 1000 & cat >/dev/null"]
    const opening = factory.open(oddService("", { command: "/bin/sh", args }), services, leaving.signal)
    await expect(opening).rejects.toMatchObject({ code: "cancelled" })
    expect(factory.usage().processes).toBe(0)
  })

  it("beyond the memory budget is refused by name, and possible again when there is room", async () => {
    await factory[Symbol.asyncDispose]()
    factory = stdioBackends({ stateDir, memoryBudgetMb: 100 })
    const open = () => factory.open(sdk("v1"), testServices(), signal)
    const backends = [await open()]
    const thrown = await (async () => {
      for (;;) backends.push(await open())
    })().catch((error: unknown) => error)
    expect(thrown).toMatchObject({ code: "unavailable", data: { reason: "memory budget" } })
    expect((thrown as Error).message).toMatch(/local processes use \d+ MB of their memory budget of 100 MB/)
    expect(backends.length).toBeLessThanOrEqual(3)
    await Promise.all(backends.map((backend) => backend[Symbol.asyncDispose]()))
    const again = await open()
    expect(lives(pidOf(again))).toBe(true)
  })

  it("is over when the factory is disposed", async () => {
    const backend = await factory.open(sdk("v1"), testServices(), signal)
    const pid = pidOf(backend)
    await factory[Symbol.asyncDispose]()
    expect(lives(pid)).toBe(false)
    await expect(factory.open(sdk("v1"), testServices(), signal)).rejects.toThrow(/the daemon is stopping/)
  })
})

describe("declared variables", () => {
  it.each([
    "NODE_OPTIONS",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "PYTHONSTARTUP",
    "BASH_ENV",
    "GIT_SSH_COMMAND",
    "PATH",
    "CLARITY_PROCESS_COOKIE",
  ])("may not include %s", async (name) => {
    const service = oddService("plain", { env: [{ name, value: "x" }] })
    const expected = { code: "invalid_manifest", message: expect.stringContaining(`env may not set ${name}`) as string }
    await expect(factory.open(service, testServices(), signal)).rejects.toMatchObject(expected)
    await expect(factory.inspect?.(service, signal)).rejects.toMatchObject(expected)
  })

  it("whose secret is not to be had name the reference", async () => {
    const service = oddService("plain", { env: [{ name: "TOKEN", secretRef: "env:MISSING" }] })
    await expect(factory.open(service, testServices(), signal)).rejects.toMatchObject({
      code: "upstream_unauthorized",
      message: "no secret under env:MISSING",
    })
  })
})

it("tells the memory of the whole group", async () => {
  const args = [process.execPath, fixture("sdk-v1-server.mjs")]
  const backend = await factory.open(oddService("", { command: fixture("wrapper.sh"), args }), testServices(), signal)
  let rssBytes: number | undefined
  while (rssBytes === undefined) {
    rssBytes = backend.vitals?.().rssBytes
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  // The leader is a shell of a few megabytes; the server behind it is Node.
  expect(rssBytes).toBeGreaterThan(25 * 1024 * 1024)
  expect(factory.usage()).toMatchObject({ processes: 1 })
  const pid = pidOf(backend)
  await backend[Symbol.asyncDispose]()
  await gone(pid)
  expect(factory.usage().processes).toBe(0)
})
