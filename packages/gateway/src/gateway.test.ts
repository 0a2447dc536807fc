import { Client as ModernClient, StreamableHTTPClientTransport as ModernTransport } from "@modelcontextprotocol/client"
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport as LegacyTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js"
import { afterEach, describe, expect, it } from "vitest"
import { ClarityError, type BackendSource, type Policy, type ServiceView } from "@clarity-runtime/contracts"
import { fake, messages, modern, openPolicy, served, type FakeService, type Served } from "../test-support/served.ts"
import { fixedSource } from "./sources/fixed-source.ts"

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing[Symbol.asyncDispose]()
})

async function start(services: readonly FakeService[], options = {}): Promise<Served> {
  const made = await served(services, options)
  open.push(made)
  return made
}

const echo: FakeService = {
  namespace: "echo",
  tools: {
    say: (args) => ({ content: [{ type: "text", text: String(args["text"]) }], unknownField: { kept: true } }),
    count: async function* () {
      for (let i = 1; i <= 3; i++)
        yield { method: "notifications/progress", params: { progressToken: "t", progress: i } }
      return { content: [{ type: "text", text: "counted" }] }
    },
    fail: () => {
      throw new Error("a secret stack")
    },
  },
}

async function legacyClient(at: Served, capabilities = {}, path = ""): Promise<LegacyClient> {
  const client = new LegacyClient({ name: "test", version: "1" }, { capabilities })
  await client.connect(new LegacyTransport(new URL(at.url + path)) as Parameters<LegacyClient["connect"]>[0])
  open.push({ [Symbol.asyncDispose]: () => client.close() })
  return client
}

async function modernClient(at: Served, capabilities = {}, path = ""): Promise<ModernClient> {
  const client = new ModernClient(
    { name: "test", version: "1" },
    { capabilities, versionNegotiation: { mode: "auto" } },
  )
  await client.connect(new ModernTransport(new URL(at.url + path)))
  open.push({ [Symbol.asyncDispose]: () => client.close() })
  return client
}

describe("one endpoint, both eras", () => {
  it("serves an official client of the legacy era", async () => {
    const at = await start([echo])
    const client = await legacyClient(at)
    expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual([
      "echo__say",
      "echo__count",
      "echo__fail",
    ])
    expect(await client.callTool({ name: "echo__say", arguments: { text: "hello" } })).toMatchObject({
      content: [{ text: "hello" }],
    })
    await client.ping()
  })

  it("serves an official client of the modern era", async () => {
    const at = await start([echo])
    const client = await modernClient(at)
    expect(client.getProtocolEra()).toBe("modern")
    expect((await client.listTools()).tools.map((tool) => tool.name)).toContain("echo__say")
    expect(await client.callTool({ name: "echo__say", arguments: { text: "hello" } })).toMatchObject({
      content: [{ text: "hello" }],
    })
  })

  it("serves one service under its own names", async () => {
    const at = await start([echo])
    for (const client of [await legacyClient(at, {}, "/echo"), await modernClient(at, {}, "/echo")]) {
      expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual(["say", "count", "fail"])
      expect(await client.callTool({ name: "say", arguments: { text: "x" } })).toMatchObject({
        content: [{ text: "x" }],
      })
    }
    expect((await at.post({ jsonrpc: "2.0", id: 1, method: "ping" }, {}, "/nobody")).status).toBe(404)
  })

  it("lets a call wait for a service that has never been up", async () => {
    const made = fake(echo)
    const inner = fixedSource([made])
    const [view] = inner.snapshot().services
    const { interface: _none, ...unknown } = view as ServiceView
    const source = {
      ...inner,
      snapshot: () => ({ generation: 1, services: [{ ...unknown, lifecycle: "STARTING" as const, stale: true }] }),
    }
    const at = await start([], { source })
    const [answer] = await messages(
      await modern(at, "tools/call", { name: "echo__say", arguments: { text: "in time" } }),
    )
    expect(answer?.["result"]).toMatchObject({ content: [{ text: "in time" }] })
    const [none] = await messages(await modern(at, "tools/call", { name: "other__say" }))
    expect(none?.["error"]).toMatchObject({ code: -32602 })
  })

  it("answers one step as JSON and more as a stream", async () => {
    const at = await start([echo])
    const one = await modern(at, "tools/call", { name: "echo__say", arguments: { text: "x" } })
    expect(one.headers.get("content-type")).toBe("application/json")
    const more = await modern(at, "tools/call", { name: "echo__count" })
    expect(more.headers.get("content-type")).toBe("text/event-stream")
    const parts = await messages(more)
    expect(parts.map((part) => part["method"] ?? "result")).toEqual([
      ...Array(3).fill("notifications/progress"),
      "result",
    ])
    expect(parts.at(-1)?.["result"]).toMatchObject({ resultType: "complete", content: [{ text: "counted" }] })
  })

  it("keeps fields it does not know and numbers a double cannot hold", async () => {
    const at = await start([
      { namespace: "n", tools: { same: (args) => ({ content: [], structuredContent: args, vendor: 1 }) } },
    ])
    const text = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"n__same","arguments":{"big":12345678901234567890,"x":1.5}}}`
    expect(await (await at.post(text)).text()).toContain(
      `"structuredContent":{"big":12345678901234567890,"x":1.5},"vendor":1`,
    )
  })

  it("never shows a stranger's exception", async () => {
    const at = await start([echo])
    const [answer] = await messages(await modern(at, "tools/call", { name: "echo__fail" }))
    expect(answer?.["result"]).toMatchObject({ isError: true })
    expect(JSON.stringify(answer)).not.toContain("secret")
  })

  it("pages lists and goes on where it was, whatever changed", async () => {
    const tools = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`t${i}`, () => "x"]))
    const at = await start([{ namespace: "many", tools }], { pageSize: 10 })
    const client = await modernClient(at)
    expect((await client.listTools()).tools).toHaveLength(25)
    const [bad] = await messages(await modern(at, "tools/list", { cursor: "nonsense" }))
    expect(bad?.["error"]).toMatchObject({ code: -32602 })
  })

  it("records every call with its shape, never its arguments", async () => {
    const at = await start([echo])
    await modern(at, "tools/call", { name: "echo__say", arguments: { text: "canary-7431" } })
    const event = at.events.find(({ kind }) => kind === "mcp.tool_called")
    expect(event).toMatchObject({ serviceId: "svc_echo", data: { tool: "say", outcome: "ok", principal: "everyone" } })
    expect(JSON.stringify(at.events)).not.toContain("canary-7431")
    expect(at.policy.settled.map(({ kind }) => kind)).toEqual(["ok"])
  })
})

describe("input requests cross the eras", () => {
  const asking: FakeService = {
    namespace: "ask",
    tools: {
      name: (_args, _context, { params }) => {
        const answer = (params["inputResponses"] as Record<string, any> | undefined)?.["who"]
        if (params["requestState"] === "step-1") return `hello ${answer?.content?.name}`
        return {
          resultType: "input_required",
          requestState: "step-1",
          inputRequests: {
            who: {
              method: "elicitation/create",
              params: {
                mode: "form",
                message: "Who?",
                requestedSchema: { type: "object", properties: { name: { type: "string" } } },
              },
            },
          },
        }
      },
    },
  }

  it("asks a legacy client with a real request on the call's stream", async () => {
    const at = await start([asking])
    const client = await legacyClient(at, { elicitation: {} })
    client.setRequestHandler(ElicitRequestSchema, async () => ({ action: "accept", content: { name: "Ida" } }))
    expect(await client.callTool({ name: "ask__name" })).toMatchObject({ content: [{ text: "hello Ida" }] })
  })

  it("fails clearly for a legacy client that cannot be asked", async () => {
    const at = await start([asking])
    const client = await legacyClient(at)
    await expect(client.callTool({ name: "ask__name" })).rejects.toThrow(/did not declare elicitation/)
  })

  it("hands a modern client the question and takes its answer", async () => {
    const at = await start([asking])
    const client = await modernClient(at, { elicitation: {} })
    client.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: { name: "Ida" } }))
    expect(await client.callTool({ name: "ask__name" })).toMatchObject({ content: [{ text: "hello Ida" }] })
  })

  it("refuses a state that was altered, or is another call's", async () => {
    const at = await start([asking])
    const [asked] = await messages(await modern(at, "tools/call", { name: "ask__name", arguments: { a: 1 } }))
    const state = asked?.["result"].requestState as string
    expect(state).not.toContain("step-1")
    const retry = async (params: Record<string, unknown>) =>
      (
        await messages(
          await modern(at, "tools/call", { name: "ask__name", arguments: { a: 1 }, requestState: state, ...params }),
        )
      )[0]
    expect(await retry({})).toMatchObject({ result: { resultType: "complete" } })
    expect(await retry({ arguments: { a: 2 } })).toMatchObject({ error: { code: -32602 } })
    expect(await retry({ requestState: `${state.slice(0, -2)}AA` })).toMatchObject({ error: { code: -32602 } })
    expect(await retry({ requestState: 5 })).toMatchObject({ error: { code: -32602 } })
  })

  it("keeps a parked call's backend and gives its place back meanwhile", async () => {
    let parked = ""
    const at = await start([
      {
        namespace: "p",
        face: { tools: [{ name: "wait", inputSchema: { type: "object" } }] },
        parks: (state) => state === parked,
        async *call({ params }) {
          if (params["requestState"] !== undefined)
            return { content: [{ type: "text", text: String(params["requestState"]) }] }
          parked = "handle-1"
          return { resultType: "input_required", requestState: parked, inputRequests: {} }
        },
      },
    ])
    const [asked] = await messages(await modern(at, "tools/call", { name: "p__wait" }))
    expect(at.policy.suspended).toBe(1)
    expect(at.policy.settled).toEqual([])
    const requestState = asked?.["result"].requestState as string
    const [done] = await messages(await modern(at, "tools/call", { name: "p__wait", requestState, inputResponses: {} }))
    expect(done?.["result"]).toMatchObject({ content: [{ text: "handle-1" }] })
    expect(at.policy.suspended).toBe(0)
    expect(at.policy.settled).toHaveLength(1)
  })
})

describe("a parked call whose client will not answer", () => {
  const parking = (given: string[]): FakeService => ({
    namespace: "p",
    face: { tools: [{ name: "wait", inputSchema: { type: "object" } }] },
    parks: (state) => state === "handle-1",
    unpark: (state) => void given.push(state),
    async *call() {
      const ask = {
        method: "elicitation/create",
        params: { message: "?", requestedSchema: { type: "object", properties: {} } },
      }
      return { resultType: "input_required", requestState: "handle-1", inputRequests: { ask } }
    },
  })

  it("is given up at once when it cannot be asked", async () => {
    const given: string[] = []
    const at = await start([parking(given)])
    const client = await legacyClient(at)
    await expect(client.callTool({ name: "p__wait" })).rejects.toThrow(/did not declare/)
    expect(given).toEqual(["handle-1"])
    expect(at.policy.settled).toHaveLength(1)
  })

  it("is given up when its time is over", async () => {
    const given: string[] = []
    const at = await start([parking(given)], { patienceMs: 50 })
    const client = await legacyClient(at, { elicitation: {} })
    client.setRequestHandler(ElicitRequestSchema, () => new Promise(() => {}))
    await expect(client.callTool({ name: "p__wait" })).rejects.toThrow(/did not answer/)
    await expect.poll(() => given).toEqual(["handle-1"])
  })
})

describe("a parked call that is answered when there is no place for it", () => {
  it("is over, upstream as well, and its backend is given back", async () => {
    const given: string[] = []
    let leases = 0
    const policy = openPolicy()
    const inner = fixedSource([
      fake({
        namespace: "p",
        face: { tools: [{ name: "wait", inputSchema: { type: "object" } }] },
        parks: (state) => state === "handle-1",
        unpark: (state) => void given.push(state),
        async *call() {
          return { resultType: "input_required", requestState: "handle-1", inputRequests: {} }
        },
      }),
    ])
    const at = await start([], {
      source: {
        ...inner,
        async acquire(...asked: Parameters<BackendSource["acquire"]>) {
          const { backend } = await inner.acquire(...asked)
          leases++
          return { backend, release: () => void leases-- }
        },
      },
      policy: {
        async admit(...asked: Parameters<Policy["admit"]>) {
          const admission = await policy.admit(...asked)
          if (admission.kind !== "permit") return admission
          const resume = () => Promise.reject(new ClarityError("rate_limited", "no place"))
          return { kind: "permit", permit: { ...admission.permit, resume } }
        },
      },
    })
    const [asked] = await messages(await modern(at, "tools/call", { name: "p__wait" }))
    const requestState = asked?.["result"].requestState as string
    expect(leases).toBe(1)
    const [answer] = await messages(await modern(at, "tools/call", { name: "p__wait", requestState }))
    expect(answer).toMatchObject({ result: { isError: true, content: [{ text: "no place" }] } })
    expect({ leases, given, settled: policy.settled.length }).toEqual({ leases: 0, given: ["handle-1"], settled: 1 })
  })
})

describe("hanging up", () => {
  function endless(): { service: FakeService; began: Promise<void> } {
    const began = Promise.withResolvers<void>()
    return {
      began: began.promise,
      service: {
        namespace: "slow",
        tools: {
          forever: async function* (_args, { signal }) {
            yield { method: "notifications/progress", params: { progressToken: 1, progress: 1 } }
            began.resolve()
            await new Promise<void>((_, reject) =>
              signal.addEventListener("abort", () => reject(signal.reason as Error)),
            )
            return {}
          },
        },
      },
    }
  }

  it("a modern client that closes its stream cancels the call", async () => {
    const done = Promise.withResolvers<string>()
    const at = await start([
      {
        namespace: "slow",
        tools: {
          forever: async function* (_args, { signal }) {
            signal.addEventListener("abort", () => done.resolve(String((signal.reason as { code?: string }).code)))
            yield { method: "notifications/progress", params: { progressToken: 1, progress: 1 } }
            await done.promise
            return {}
          },
        },
      },
    ])
    const response = await modern(at, "tools/call", { name: "slow__forever" })
    await response.body?.cancel()
    expect(await done.promise).toBe("cancelled")
  })

  it("a legacy client cancels by saying so, and only its own call", async () => {
    const { service, began } = endless()
    const at = await start([service, echo])
    const client = await legacyClient(at)
    const controller = new AbortController()
    const call = client.callTool({ name: "slow__forever" }, undefined, { signal: controller.signal })
    const refused = expect(call).rejects.toThrow()
    await began
    controller.abort()
    await refused
    await expect.poll(() => at.policy.settled.map(({ kind }) => kind)).toEqual(["cancelled"])
    expect(await client.callTool({ name: "echo__say", arguments: { text: "still here" } })).toMatchObject({
      content: [{ text: "still here" }],
    })
  })
})
