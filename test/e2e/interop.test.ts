// Official clients of both lines, over HTTP and through the stdio bridge, against official servers behind the daemon.
import { spawn } from "node:child_process"
import { createRequire } from "node:module"
import { createServer, type AddressInfo } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { answers, drive, lines, ways, type Driver } from "./interop-clients.ts"
import { manifest, remote, startDaemon, type Daemon, type Origin } from "./support/daemon.ts"
import { textOf } from "./support/mcp.ts"
import { inRoot, processesOf } from "./support/process.ts"

const everything = createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/dist/index.js")
const lineTwo = inRoot("test/fixtures/everything/line-two.ts")

let daemon: Daemon
const servers: (() => Promise<unknown>)[] = []
const ids = new Map<string, string>()

beforeAll(async () => {
  daemon = await startDaemon()
  const stdio = (...args: string[]): Origin => ({
    type: "local_stdio",
    command: process.execPath,
    args,
    cwd: daemon.workspace,
  })
  await add("stdio", stdio(everything, "stdio"))
  await add("streamable", remote(`${await serve("streamableHttp")}/mcp`))
  await add("sse", remote(`${await serve("sse")}/sse`, { transport: "sse_http" }))
  await add("modern", stdio(lineTwo, "stdio", "--modern"))
})
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  for (const stop of servers) await stop()
})

async function add(service: string, origin: Origin): Promise<void> {
  const { runtime, serviceId } = await daemon.register(manifest(service, origin, { toolNamespace: service }))
  ids.set(service, serviceId)
  expect([service, runtime.lastError, runtime.lifecycle]).toEqual([service, undefined, "RUNNING"])
}

/** Runs server-everything on a free port. */
async function serve(mode: "streamableHttp" | "sse"): Promise<string> {
  const port = await freePort()
  const child = spawn(process.execPath, [everything, mode], {
    cwd: daemon.workspace,
    env: { PATH: process.env["PATH"], PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const ended = new Promise((resolve) => child.once("close", resolve))
  servers.push(() => (child.kill("SIGKILL"), ended))
  await new Promise<void>((resolve, reject) => {
    let said = ""
    const listen = (chunk: Buffer) => {
      said += chunk.toString()
      if (said.includes(`port ${port}`)) resolve()
    }
    child.stdout.on("data", listen)
    child.stderr.on("data", listen)
    void ended.then(() => reject(new Error(`server-everything ${mode} did not start:\n${said}`)))
  })
  return `http://127.0.0.1:${port}`
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const cells = ["stdio", "streamable", "sse"].flatMap((service) =>
  ways.flatMap((way) => lines.map((line) => ({ service, way, line }))),
)

describe.each(cells)("server-everything ($service) by a $line client over $way", ({ service, way, line }) => {
  let driver: Driver
  beforeAll(async () => {
    driver = await drive(daemon, service, line, way)
  })
  afterAll(() => driver[Symbol.asyncDispose]())

  it("lists what there is", async () => {
    expect(await driver.tools()).toEqual(
      expect.arrayContaining(["echo", "get-sum", "trigger-sampling-request", "trigger-elicitation-request"]),
    )
    expect(await driver.resources()).toContain("demo://resource/static/document/architecture.md")
    expect(await driver.templates()).toContain("demo://resource/dynamic/text/{resourceId}")
    expect(await driver.prompts()).toEqual(["simple-prompt", "args-prompt", "completable-prompt", "resource-prompt"])
  })

  it("calls, reads, gets and completes", async () => {
    expect(textOf(await driver.call("echo", { message: "grüße" }))).toBe("Echo: grüße")
    expect(textOf(await driver.call("get-sum", { a: 2, b: 40 }))).toBe("The sum of 2 and 40 is 42.")
    const weather = await driver.call("get-structured-content", { location: "Chicago" })
    expect(weather["structuredContent"]).toMatchObject({ humidity: 82 })
    const image = await driver.call("get-tiny-image")
    expect(image["content"]).toContainEqual(expect.objectContaining({ type: "image", mimeType: "image/png" }))
    const links = await driver.call("get-resource-links", { count: 2 })
    const [, link] = links["content"]
    expect((await driver.read(link.uri))["contents"]).toEqual([expect.objectContaining({ uri: link.uri })])
    const prompt = await driver.prompt("args-prompt", { city: "Oslo" })
    expect(prompt["messages"][0].content.text).toBe("What's weather in Oslo?")
    expect(await driver.complete("completable-prompt", "department", "Eng")).toEqual(["Engineering"])
    expect(await driver.complete("completable-prompt", "name", "", { department: "Sales" })).toEqual([
      "David",
      "Eve",
      "Frank",
    ])
  })

  it("is told progress", async () => {
    const steps: number[] = []
    const done = await driver.call(
      "trigger-long-running-operation",
      { duration: 0.2, steps: 4 },
      { onProgress: (progress) => steps.push(progress) },
    )
    expect(textOf(done)).toContain("completed")
    // The official clients stop listening before the last one when it arrives together with the result.
    expect(steps.length).toBeGreaterThanOrEqual(3)
    expect(steps).toEqual([1, 2, 3, 4].slice(0, steps.length))
  })

  it("is asked for a model's words, a person's and a page to open", async () => {
    driver.asked.length = 0
    const sampled = await driver.call("trigger-sampling-request", { prompt: "capital of France?" })
    expect(JSON.stringify(sampled)).toContain(answers.reply)
    const elicited = await driver.call("trigger-elicitation-request")
    expect(JSON.stringify(elicited)).toContain(`Name: ${answers.name}`)
    const opened = await driver.call("trigger-url-elicitation", { url: "https://example.org/consent" })
    expect(textOf(opened)).toContain("User completed")
    const roots = await driver.call("get-roots-list")
    expect(textOf(roots)).toContain(answers.root.uri)
    expect(driver.asked.filter((method) => method !== "roots/list")).toEqual([
      "sampling/createMessage",
      "elicitation/create",
      "elicitation/create",
    ])
  })

  it("hears of resources that change", async () => {
    const uri = "demo://resource/static/document/features.md"
    const unsubscribe = await driver.subscribe(uri)
    await driver.call("toggle-subscriber-updates")
    await expect
      .poll(() => driver.notifications, { timeout: 10_000 })
      .toContainEqual({ method: "notifications/resources/updated", params: expect.objectContaining({ uri }) })
    await driver.call("toggle-subscriber-updates")
    await unsubscribe()
  })

  it("leaves the server's log lines in the service's log", async () => {
    const lines = async () => {
      const { items } = await daemon.client.getLogs({ id: ids.get(service) ?? "", limit: 500 })
      return items.filter(({ text }) => /level[- ]message/i.test(text)).length
    }
    const before = await lines()
    await driver.call("toggle-simulated-logging", {}, { logLevel: "debug" })
    await expect.poll(lines, { timeout: 10_000 }).toBeGreaterThan(before)
    await driver.call("toggle-simulated-logging")
  })

  it("gives up a call and goes on", async () => {
    const abort = new AbortController()
    const long = driver.call(
      "trigger-long-running-operation",
      { duration: 60, steps: 600 },
      { signal: abort.signal, onProgress: () => abort.abort(new Error("no longer wanted")) },
    )
    await expect(long).rejects.toThrow("no longer wanted")
    expect(textOf(await driver.call("echo", { message: "still here" }))).toBe("Echo: still here")
  })

  it("is told what fails", async () => {
    const wrong = await driver.call("get-sum", { a: "two" })
    expect([wrong["isError"], textOf(wrong)]).toEqual([true, expect.stringContaining("Invalid")])
    await expect(driver.call("no-such-tool")).rejects.toMatchObject({ code: -32602 })
    await expect(driver.read("demo://resource/nowhere")).rejects.toMatchObject({ code: -32602 })
    await expect(driver.prompt("no-such-prompt", {})).rejects.toMatchObject({ code: -32602 })
    const unfetched = await driver.call("gzip-file-as-resource", { name: "x", data: "ftp://example.org/x" })
    expect(unfetched["isError"]).toBe(true)
  })
})

describe.each(ways.flatMap((way) => lines.map((line) => ({ way, line }))))(
  "a modern server by a $line client over $way",
  ({ way, line }) => {
    it("asks in the middle of a call, in as many rounds as it takes", async () => {
      await using driver = await drive(daemon, "modern", line, way)
      expect(textOf(await driver.call("test_input_required_result_elicitation"))).toBe(`Hello, ${answers.name}!`)
      expect(textOf(await driver.call("test_sampling", { prompt: "?" }))).toBe(`LLM response: ${answers.reply}`)
      expect(textOf(await driver.call("test_input_required_result_list_roots"))).toContain(answers.root.uri)
      const all = await driver.call("test_input_required_result_multiple_inputs")
      expect(textOf(all)).toContain(`${answers.name}: ${answers.reply}`)
      driver.asked.length = 0
      await driver.call("test_input_required_result_multi_round")
      expect(driver.asked).toEqual(["elicitation/create", "elicitation/create"])
    })

    it("logs at the level asked for, and to nobody who did not ask", async () => {
      await using driver = await drive(daemon, "modern", line, way)
      await driver.call("test_tool_with_logging", {}, { logLevel: "error" })
      expect(driver.notifications).toEqual([])
      await driver.call("test_tool_with_logging", {}, { logLevel: "debug" })
      const logged = driver.notifications.filter(({ method }) => method === "notifications/message")
      expect(logged.map(({ params }) => params["data"])).toContain("Tool processing data")
    })
  },
)

it("leaves nothing behind", async () => {
  if (process.platform === "linux") expect(processesOf(daemon.workspace).length).toBeGreaterThan(2)
  expect(await daemon.stop()).toBe(0)
  for (const stop of servers.splice(0)) await stop()
  expect(processesOf(daemon.workspace)).toEqual([])
})
