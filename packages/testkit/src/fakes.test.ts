import { ClarityError, type McpNotification, type McpResult, type Reply } from "@clarity-runtime/contracts"
import { describe, expect, it } from "vitest"
import { callContext, toolCall } from "./call-context.ts"
import { collect, textOf } from "./collect.ts"
import { fakeBackend } from "./fake-backend.ts"
import { fakeCredentials } from "./fake-credentials.ts"
import { fakeSource } from "./fake-source.ts"
import { fakeTelemetry } from "./fake-telemetry.ts"
import { manualClock } from "./manual-clock.ts"
import { remoteManifest, stdioManifest, wasmManifest } from "./manifests.ts"
import { backendContract, sourceContract } from "./suites/index.ts"

async function* endless(): Reply {
  yield { method: "notifications/progress" }
  return new Promise<McpResult>(() => undefined)
}

backendContract("fakeBackend", async () => ({
  backend: fakeBackend({ tools: { echo: ({ text }) => String(text), endless } }),
  echo: (text) => toolCall("echo", { text }),
  endless: { request: toolCall("endless") },
}))

sourceContract("fakeSource", async () => {
  const services = [{ name: "zulu" }, { name: "alpha", backend: fakeBackend({ tools: { echo: "hello" } }) }]
  const source = fakeSource(services)
  const serviceId = source.snapshot().services[0]?.id ?? ""
  return { source, serviceId, change: () => source.set(services.slice(1)) }
})

describe("fakeBackend", () => {
  it("answers with texts, results, functions and streams, and remembers what was asked", async () => {
    const backend = fakeBackend({
      tools: {
        text: "hello",
        result: { content: [], isError: true },
        async *stream({ steps }) {
          for (let step = 1; step <= Number(steps); step++)
            yield { method: "step", params: { step } } as McpNotification
          return { content: [{ type: "text", text: "done" }] }
        },
      },
      methods: { "resources/read": ({ uri }) => ({ contents: [{ uri }] }) },
    })
    const ask = (name: string, args = {}) => collect(backend.call(toolCall(name, args), callContext()))
    expect(textOf((await ask("text")).result)).toBe("hello")
    expect((await ask("result")).result).toEqual({ content: [], isError: true })
    const streamed = await ask("stream", { steps: 3 })
    expect(streamed.notifications.map(({ params }) => params?.["step"])).toEqual([1, 2, 3])
    expect(textOf(streamed.result)).toBe("done")
    const read = { method: "resources/read", params: { uri: "a:b" }, meta: {} }
    expect((await collect(backend.call(read, callContext()))).result).toEqual({ contents: [{ uri: "a:b" }] })
    expect(backend.calls.map(({ request }) => request.params["name"] ?? request.method)).toEqual([
      "text",
      "result",
      "stream",
      "resources/read",
    ])
    expect(backend.inFlight).toBe(0)
  })
})

describe("fakeSource", () => {
  it("counts leases and broken ones, and says why a service cannot be had", async () => {
    const source = fakeSource([{ name: "up", backend: fakeBackend() }, { name: "down" }])
    const [down, up] = source.snapshot().services
    const lease = await source.acquire(up?.id ?? "", callContext())
    expect(source.leases).toBe(1)
    lease.release("broken")
    lease.release()
    expect([source.leases, source.broken]).toEqual([0, 1])
    await expect(source.acquire(down?.id ?? "", callContext())).rejects.toThrow("service down is STOPPED")
  })
})

describe("manualClock", () => {
  it("wakes sleepers at their own moments and in order, those begun meanwhile too", async () => {
    const clock = manualClock(0)
    const woken: string[] = []
    const every = async () => {
      for (let tick = 0; tick < 3; tick++) {
        await clock.sleep(10)
        woken.push(`tick ${clock.monotonic()}`)
      }
    }
    void every()
    void clock.sleep(15).then(() => woken.push(`once ${clock.monotonic()}`))
    await clock.advance(25)
    expect(woken).toEqual(["tick 10", "once 15", "tick 20"])
    expect([clock.now(), clock.monotonic(), clock.sleepers]).toEqual([25, 25, 1])
    await clock.advance(5)
    expect(woken.at(-1)).toBe("tick 30")
  })

  it("lets the wall clock jump without waking anybody, and the signal wake at once", async () => {
    const clock = manualClock(0)
    const caller = new AbortController()
    const asleep = clock.sleep(1000, caller.signal)
    await clock.sleeping()
    clock.setWallClock(1e12)
    expect([clock.now(), clock.monotonic(), clock.sleepers]).toEqual([1e12, 0, 1])
    caller.abort()
    await asleep
    expect(clock.sleepers).toBe(0)
    await clock.sleep(1000, caller.signal)
  })
})

describe("the rest", () => {
  it("builds valid manifests that differ where asked", () => {
    expect(stdioManifest({ origin: { args: ["x"] } }).spec.origin).toMatchObject({ command: "node", args: ["x"] })
    expect(remoteManifest({ name: "Docs" }).spec.origin).toMatchObject({ endpoint: "https://docs.example/mcp" })
    expect(wasmManifest({ spec: { start: "lazy" } }).spec).toMatchObject({ start: "lazy", isolation: "shared" })
    expect(() => stdioManifest({ origin: { command: "" } })).toThrow(ClarityError)
  })

  it("hands out known credentials only and remembers who asked", async () => {
    const credentials = fakeCredentials({ "env:TOKEN": "secret" })
    const target = { serviceId: "svc", origin: "https://a.example" }
    expect(await credentials.headers("env:TOKEN", target)).toEqual({ authorization: "Bearer secret" })
    await expect(credentials.secret("env:OTHER", target)).rejects.toMatchObject({ code: "upstream_unauthorized" })
    expect(credentials.asked.map(({ reference }) => reference)).toEqual(["env:TOKEN", "env:OTHER"])
  })

  it("keeps events and lines", () => {
    const telemetry = fakeTelemetry()
    telemetry.record({ kind: "a", level: "info", message: "m" })
    telemetry.logOf("svc").write("stderr", "line")
    expect([telemetry.events.length, telemetry.lines]).toEqual([1, ["svc stderr line"]])
  })
})
