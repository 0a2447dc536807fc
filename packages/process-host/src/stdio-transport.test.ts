import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { ClarityError, systemClock } from "@clarity-runtime/contracts"
import { TransportError } from "@clarity-runtime/mcp-peer"
import { connect, gone, hastyClock, lives, oddService, testServices } from "../test-fixtures/harness.ts"
import { createLauncher, type Launcher } from "./launcher.ts"

let launcher: Launcher

beforeEach(() => {
  launcher = createLauncher({ stateDir: undefined, environment: process.env, budgetBytes: 2 ** 40, clock: systemClock })
})
afterEach(() => launcher[Symbol.asyncDispose]())

describe("a child that dies", () => {
  it("at once, tells its exit code and what it said on stderr, without stack frames", async () => {
    const services = testServices()
    const wire = await connect(launcher, oddService("quits"), services)
    const failure = await wire.closed
    expect(failure?.error.code).toBe("unavailable")
    expect(failure?.error.message).toBe('service "odd": its process exited with code 3 before it answered')
    expect(failure?.error.data.reason).toBe("starting\nTypeError: no config found")
    expect(services.logged.filter(({ stream }) => stream === "stderr").map(({ text }) => text)).toContain(
      "    at load (/srv/secret/place.js:1:1)",
    )
  })

  it("before it has read anything, still tells how", async () => {
    for (let round = 0; round < 20; round++) {
      const origin = { command: "/bin/sh", args: ["-c", "echo no licence >&2; exit 9"] }
      const wire = await connect(launcher, oddService("", origin))
      void wire.transport.send({ jsonrpc: "2.0", id: 1, method: "x", params: { text: "x".repeat(200_000) } }, {})
      const failure = await wire.closed
      expect(failure?.error.message).toBe('service "odd": its process exited with code 9 before it answered')
      expect(failure?.error.data.reason).toBe("no licence")
    }
  })

  it.each([
    ["output", "exec >&-; sleep 1000"],
    ["input", "exec <&-; sleep 1000"],
  ])("only in that it closed its %s, is given up", async (which, script) => {
    const service = oddService("", { command: "/bin/sh", args: ["-c", script] })
    const wire = await connect(launcher, service, testServices({ clock: hastyClock }))
    const stop = new AbortController()
    const talk = async () => {
      while (!stop.signal.aborted) {
        await wire.transport.send({ jsonrpc: "2.0", method: "notifications/x" }, {})
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    const talking = talk().catch((error: unknown) => error)
    expect((await wire.closed)?.error.message).toBe(`service "odd": its process closed its ${which} before it answered`)
    stop.abort()
    await talking
    await gone(wire.launched.child.pid)
  })

  it("delivers what it said last", async () => {
    const size = 5_000_000
    const script = `printf '{"jsonrpc":"2.0","id":1,"result":{"text":"'; head -c ${size} /dev/zero | tr '\\0' x; printf '"}}'`
    const wire = await connect(launcher, oddService("", { command: "/bin/sh", args: ["-c", script] }))
    await wire.closed
    expect(wire.messages).toHaveLength(1)
    expect(JSON.stringify(wire.messages[0])).toHaveLength(size + 45)
  })

  it("under a call, ends the connection with how it ended", async () => {
    const wire = await connect(launcher, oddService("plain"))
    await wire.ask("echo")
    await expect(wire.ask("die", { signal: "SIGKILL" })).rejects.toThrow(
      'service "odd": its process was killed by SIGKILL (by hand, or because the machine ran out of memory)',
    )
    expect((await wire.closed)?.sent).toBe(true)
    await expect(wire.ask("echo")).rejects.toMatchObject({ failure: { sent: false } })
  })

  it("never answering, is given up at the start limit and stopped", async () => {
    const wire = await connect(launcher, oddService("silent"), testServices(), 300)
    const failure = await wire.closed
    expect(failure?.error.code).toBe("upstream_timeout")
    expect(failure?.error.message).toBe('service "odd" did not answer within 0.3 s of its start')
    await gone(wire.launched.child.pid)
  })
})

describe("what a child prints", () => {
  it("survives banners, logs, CRLF, batches, U+2028, cut characters and several messages in a chunk", async () => {
    const services = testServices()
    const wire = await connect(launcher, oddService("chatty"), services)
    const last = await wire.until((message) => message["method"] === "notifications/six")
    expect(wire.messages.map((message) => message["method"])).toEqual(
      ["one", "two", "three", "four", "five", "six"].map((name) => `notifications/${name}`),
    )
    expect(wire.messages[0]?.["params"]).toEqual({ text: "a\u2028b\u2029c\u0085d" })
    expect(JSON.stringify(last["params"])).toBe('{"text":"hé \u{1f600}","n":12345678901234567890}')
    const garbage = services.logged.filter(({ stream }) => stream === "stdout").map(({ text }) => text)
    expect(garbage).toEqual([
      "Welcome to the server v1.0",
      '{"level":30,"msg":"a log line"}',
      "[]",
      "null",
      '"text"',
      '{"jsonrpc":"2.0",',
    ])
  })

  it("is given up after 100 lines in a row that are no messages", async () => {
    const services = testServices()
    const wire = await connect(launcher, oddService("garbage"), services)
    const failure = await wire.closed
    expect(failure?.error.code).toBe("upstream_invalid")
    expect(services.logged.filter(({ stream }) => stream === "stdout")).toHaveLength(100)
    await gone(wire.launched.child.pid)
  })

  it("may be 100 MB without a newline: it is dropped, and the next message arrives", async () => {
    const services = testServices()
    const wire = await connect(launcher, oddService("endless"), services)
    await wire.until((message) => message["method"] === "notifications/after")
    expect(services.logged.map(({ text }) => text)).toContain(
      "a line of 104857600 bytes on stdout was dropped: the limit is 10485760",
    )
  })

  it("beyond the line limit ends the call it answers with result_too_large, and no other", async () => {
    const wire = await connect(launcher, oddService("plain"))
    const answer = await wire.ask("big", { bytes: 11 * 1024 * 1024 })
    expect(answer["error"]).toMatchObject({ code: 41300, data: { code: "result_too_large", service: "odd" } })
    expect(await wire.ask("echo", { still: "here" })).toMatchObject({ result: { still: "here" } })
  })

  it("that is no JSON, but begins as an answer, ends that call at once; one that death cut off does not", async () => {
    const answer = '{"jsonrpc":"2.0","id":1,"result":{"text":'
    const whole = await connect(
      launcher,
      oddService("", { command: "/bin/sh", args: ["-c", `echo '${answer}'; exec sleep 60`] }),
    )
    expect(await whole.until(({ id }) => id === 1)).toMatchObject({ error: { data: { code: "upstream_invalid" } } })
    const cut = await connect(launcher, oddService("", { command: "/bin/sh", args: ["-c", `printf '%s' '${answer}'`] }))
    expect((await cut.closed)?.error.code).toBe("unavailable")
    expect(cut.messages).toEqual([])
  })

  it("that never ends is refused by the call it answers while it goes on, and costs its process in the end", async () => {
    const script = `printf '{"jsonrpc":"2.0","id":1,"result":{"text":"'; exec tr '\\0' x </dev/zero`
    const service = oddService("", { command: "/bin/sh", args: ["-c", script] })
    const wire = await connect(launcher, service, testServices({ clock: hastyClock }))
    expect(await wire.until(({ id }) => id === 1)).toMatchObject({ error: { code: 41300 } })
    expect((await wire.closed)?.error).toMatchObject({ code: "upstream_invalid", data: { reason: "line without end" } })
    await gone(wire.launched.child.pid)
  })

  it("is handed on with its size, by which the peer bounds a call's answer", async () => {
    const wire = await connect(launcher, oddService("plain"))
    const { id } = await wire.ask("big", { bytes: 4000 })
    expect(wire.sizes.at(-1)).toBe(JSON.stringify({ jsonrpc: "2.0", id, result: { text: "" } }).length + 4000)
  })
})

describe("a child that does not read", () => {
  it("lets a call fail by its own signal, keeps little in memory, and is ended all the same", async () => {
    const wire = await connect(launcher, oddService("deaf"))
    await wire.until((message) => message["id"] === 0)
    const send = (bytes: number, signal: AbortSignal) =>
      wire.transport.send({ jsonrpc: "2.0", id: 1, method: "echo", params: { text: "x".repeat(bytes) } }, { signal })
    const patient = new AbortController()
    // The first goes into the pipe and the queue; what does not fit has to wait.
    await send(2 * 1024 * 1024, patient.signal)
    const hurried = new AbortController()
    const waiting = send(10 * 1024 * 1024, hurried.signal)
    const other = send(100, patient.signal)
    hurried.abort(new ClarityError("upstream_timeout", "no answer in time"))
    const thrown = await waiting.catch((error: unknown) => error)
    expect(thrown).toBeInstanceOf(TransportError)
    expect((thrown as TransportError).failure).toMatchObject({ sent: false, error: { code: "upstream_timeout" } })
    expect(wire.launched.child.stdin.writableLength).toBeLessThan(3 * 1024 * 1024)
    const [refused] = await Promise.allSettled([other, wire.transport[Symbol.asyncDispose]()])
    expect(refused).toMatchObject({ status: "rejected", reason: { failure: { sent: false } } })
    expect(lives(wire.launched.child.pid)).toBe(false)
  })

  it("is spared a cancelled call that has not left yet, and the news of it", async () => {
    const wire = await connect(launcher, oddService("plain"))
    await wire.ask("deafen")
    const send = (message: object) => wire.transport.send({ jsonrpc: "2.0", ...message }, {})
    await send({ id: 10, method: "echo", params: { text: "x".repeat(2 * 1024 * 1024) } })
    const waiting = send({ id: 11, method: "echo", params: { text: "y".repeat(2 * 1024 * 1024) } })
    await send({ method: "notifications/cancelled", params: { requestId: 11 } })
    await expect(waiting).rejects.toMatchObject({ failure: { sent: false, error: { code: "cancelled" } } })
  })

  it("takes up its work again when it reads again", async () => {
    const wire = await connect(launcher, oddService("plain"))
    const text = "x".repeat(700 * 1024)
    const answers = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => wire.ask("echo", { n, text })))
    expect(answers.map((answer) => (answer["result"] as { n: number }).n)).toEqual([1, 2, 3, 4, 5, 6])
  })
})

it("does not start when the signal is aborted already", async () => {
  const services = testServices()
  const { createStdioTransport } = await import("./stdio-transport.ts")
  let started = false
  const transport = createStdioTransport({
    service: "odd",
    start: async () => {
      started = true
      throw new Error("must not be called")
    },
    clock: services.clock,
    log: services.log,
    startTimeoutMs: 1000,
  })
  const receiver = { message() {}, ended() {}, closed() {} }
  await expect(transport.open(receiver, AbortSignal.abort())).rejects.toMatchObject({ code: "cancelled" })
  expect(started).toBe(false)
})
