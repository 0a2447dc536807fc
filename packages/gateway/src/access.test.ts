import {
  ClarityError,
  createBroadcast,
  isJsonObject,
  type Backend,
  type BackendSource,
  type Interface,
  type Policy,
  type Principal,
  type ServiceView,
} from "@clarity-runtime/contracts"
import { afterEach, describe, expect, it } from "vitest"
import { fixedSource } from "./index.ts"
import {
  fake,
  messages,
  modern,
  modernMeta,
  openPolicy,
  served,
  type FakeService,
  type Served,
} from "../test-support/served.ts"

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing[Symbol.asyncDispose]()
})

const notes: FakeService = {
  namespace: "notes",
  tools: { read: () => "read", write: () => "written" },
  face: {
    instructions: "Read before you write.",
    tools: [
      { name: "read", inputSchema: { type: "object" } },
      { name: "write", inputSchema: { type: "object" } },
    ],
  },
}
const vault: FakeService = {
  namespace: "vault",
  tools: { open: () => "opened" },
  face: { instructions: "The vault is secret.", tools: [{ name: "open", inputSchema: { type: "object" } }] },
}

async function start(principal: Principal, policy: Policy = openPolicy()): Promise<Served> {
  const at = await served([notes, vault], { authenticators: [{ authenticate: () => principal }], policy })
  open.push(at)
  return at
}

const someone = (more: Partial<Principal> = {}): Principal => ({
  id: "token:ci",
  kind: "token",
  scopes: ["call"],
  ...more,
})

/** Reads a stream until it ends. */
async function textOf(response: Response): Promise<string> {
  let text = ""
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true })
  return text
}

async function session(at: Served): Promise<Record<string, string>> {
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } }
  const response = await at.post({ jsonrpc: "2.0", id: 1, method: "initialize", params })
  return { "mcp-session-id": response.headers.get("mcp-session-id") ?? "", accept: "text/event-stream" }
}

describe("scopes on the endpoint", () => {
  it.each([
    ["read", "tools/list", 200],
    ["read", "tools/call", 403],
    ["call", "tools/call", 200],
    ["operate", "tools/list", 403],
  ] as const)("%s for %s: %d", async (scope, method, status) => {
    const at = await start(someone({ scopes: [scope] }))
    const params = method === "tools/call" ? { name: "notes__read" } : {}
    for (const response of [
      await modern(at, method, params),
      await at.post({ jsonrpc: "2.0", id: 1, method, params }),
    ]) {
      expect(response.status).toBe(status)
      const [answer] = await messages(response)
      if (status === 403)
        expect(answer).toMatchObject({ id: 1, error: { code: 40301, data: { reason: "insufficient_scope" } } })
    }
  })
})

describe("a batch", () => {
  const batch = (at: Served, ...methods: string[]) =>
    at.post(
      methods.map((method, id) => ({ jsonrpc: "2.0", id, method, params: {} })),
      { "mcp-protocol-version": "2025-03-26" },
    )

  it("wants the same scopes as what is in it", async () => {
    const at = await start(someone({ scopes: ["operate"] }))
    const answers = (await (await batch(at, "tools/list", "resources/list")).json()) as { error?: object }[]
    expect(answers).toHaveLength(2)
    for (const { error } of answers) expect(error).toMatchObject({ data: { reason: "insufficient_scope" } })
    const reader = await start(someone({ scopes: ["read"] }))
    expect(await (await batch(reader, "tools/list")).json()).toMatchObject([{ result: { tools: [{}, {}, {}] } }])
  })

  it("multiplies no answer beyond measure", async () => {
    const description = "x".repeat(1_000_000)
    const at = await served([{ namespace: "big", face: { tools: [{ name: "t", description, inputSchema: {} }] } }])
    open.push(at)
    const text = await (await batch(at, ...Array.from({ length: 100 }, () => "tools/list"))).text()
    expect(text.length).toBeLessThan(17_000_000)
    const answers = JSON.parse(text) as { id: number; result?: object; error?: { message: string } }[]
    expect(answers.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, id) => id))
    expect(answers.filter(({ result }) => result !== undefined)).toHaveLength(16)
    expect(answers.at(-1)?.error?.message).toMatch(/send this request alone/)
  })
})

describe("watching a resource", () => {
  async function watching(more: Partial<Policy>): Promise<{ at: Served; change: (...uris: string[]) => void }> {
    const changes = createBroadcast<readonly string[]>()
    const at = await served(
      [
        {
          namespace: "docs",
          face: { resources: [{ uri: "file:///a", name: "a" }], capabilities: { resources: { subscribe: true } } },
          async *watch({ resources = [] }, signal) {
            const news = changes.subscribe(signal)
            yield { kind: "watching", resources }
            for await (const uris of news) for (const uri of uris) yield { kind: "resource", uri, params: { uri } }
          },
        },
      ],
      { policy: { ...openPolicy(), ...more } },
    )
    open.push(at)
    return { at, change: (...uris) => changes.publish(uris) }
  }
  const subscribe = async (at: Served) => {
    const headers = await session(at)
    const params = { uri: "docs+file:///a" }
    const [answer] = await messages(
      await at.post({ jsonrpc: "2.0", id: 2, method: "resources/subscribe", params }, headers),
    )
    return { answer, headers }
  }

  it("is judged as what it is, not only as something that is listed", async () => {
    const asked: unknown[] = []
    const refused = await watching({
      refusal: (input) => {
        asked.push([input.method, input.target])
        return new ClarityError("policy_denied", "nobody watches this")
      },
    })
    expect((await subscribe(refused.at)).answer).toMatchObject({ error: { message: "nobody watches this" } })
    expect(asked).toEqual([["resources/subscribe", "file:///a"]])
    const needsYes = await watching({ asks: () => true })
    expect((await subscribe(needsYes.at)).answer).toMatchObject({ error: { data: { reason: "approval_required" } } })
    const free = await watching({})
    expect((await subscribe(free.at)).answer).toMatchObject({ result: {} })
  })

  it("has an end for one caller, however many streams it opens", async () => {
    const { at } = await watching({})
    const accepted: number[] = []
    const streams: Response[] = []
    for (let stream = 0; stream < 5; stream++) {
      const uris = Array.from({ length: 256 }, (_, i) => `docs+file:///${stream}/${i}`)
      const response = await modern(at, "subscriptions/listen", { notifications: { resourceSubscriptions: uris } })
      streams.push(response)
      const { value } = (await response.body?.getReader().read()) ?? {}
      accepted.push(new TextDecoder().decode(value).split("file:///").length - 1)
    }
    expect(accepted).toEqual([256, 256, 256, 256, 0])
  })

  it("tells of no part of it that is hidden", async () => {
    const { at, change } = await watching({ visible: (_who, _service, _kind, name) => !name.endsWith("secret") })
    const { headers } = await subscribe(at)
    const stream = await fetch(at.url, { headers })
    change("file:///a/secret", "file:///a/open")
    let text = ""
    for await (const chunk of stream.body ?? []) {
      text += new TextDecoder().decode(chunk as Uint8Array)
      if (text.includes("open")) break
    }
    expect(text).not.toContain("secret")
  })
})

describe("a service that turns out to be another than it was", () => {
  it("is asked about as it is now", async () => {
    const face = (readOnlyHint: boolean): Partial<Interface> => ({
      tools: [{ name: "go", inputSchema: { type: "object" }, annotations: { readOnlyHint } }],
    })
    let went = 0
    const [before, after] = [true, false].map((readOnly) =>
      fixedSource([fake({ namespace: "x", tools: { go: () => `${++went}` }, face: face(readOnly) })]),
    ) as [BackendSource, BackendSource]
    let up = false
    const source: BackendSource = {
      snapshot: () => {
        const { generation, services } = (up ? after : before).snapshot()
        return { generation, services: services.map((service): ServiceView => ({ ...service, stale: !up })) }
      },
      async *changes() {},
      acquire: (id, context) => {
        up = true
        return after.acquire(id, context)
      },
    }
    const asks: Policy["asks"] = ({ service }) =>
      isJsonObject(service.interface?.tools[0]?.["annotations"]) &&
      service.interface.tools[0]["annotations"]["readOnlyHint"] === false
    const at = await served([], { source, policy: { ...openPolicy(), asks } })
    open.push(at)
    const [answer] = await messages(await modern(at, "tools/call", { name: "x__go" }))
    expect(answer).toMatchObject({ result: { isError: true } })
    expect(went).toBe(0)
  })
})

describe("a principal that reaches one service", () => {
  const narrow = someone({ reach: ["notes"] })
  it("finds the endpoint of another as unknown as one that is not there", async () => {
    const at = await start(narrow)
    const answers = await Promise.all(
      ["/vault", "/nowhere"].map(async (path) => {
        const response = await modern(at, "tools/list", {}, { path })
        return { status: response.status, text: (await response.text()).replace(path.slice(1), "*") }
      }),
    )
    expect(answers[0]).toEqual(answers[1])
    expect((await modern(at, "tools/list", {}, { path: "/notes" })).status).toBe(200)
  })

  it("is not told by headers it did not send that a hidden tool is there", async () => {
    const property = { type: "string", "x-mcp-header": "Tenant" }
    const tools = ["there", "open"].map((name) => ({
      name,
      inputSchema: { type: "object", properties: { tenant: property } },
    }))
    const at = await served([{ namespace: "vault", face: { tools } }], {
      policy: { ...openPolicy(), visible: (_who, _service, _kind, name) => name !== "there" },
    })
    open.push(at)
    const call = async (name: string) => {
      const response = await modern(at, "tools/call", { name: `vault__${name}`, arguments: { tenant: "a" } })
      return { status: response.status, text: (await response.text()).replaceAll(name, "*") }
    }
    expect(await call("there")).toEqual(await call("nowhere"))
    expect((await call("open")).status).toBe(400)
  })

  it("is told nothing of others in the instructions, in either era", async () => {
    const at = await start(narrow)
    const [found] = await messages(await modern(at, "server/discover"))
    expect(found?.["result"].instructions).toBe("## notes\n\nRead before you write.")
    const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } }
    const [hello] = await messages(await at.post({ jsonrpc: "2.0", id: 1, method: "initialize", params }))
    expect(hello?.["result"].instructions).not.toContain("vault")
  })

  it("a service of which policy hides everything is not spoken of either", async () => {
    const hiding: Policy = { ...openPolicy(), visible: (_who, service) => service.namespace !== "vault" }
    const [found] = await messages(await modern(await start(someone(), hiding), "server/discover"))
    expect(found?.["result"].instructions).not.toContain("vault")
  })
})

describe("credentials that end", () => {
  const listen = (at: Served) =>
    modern(at, "subscriptions/listen", { notifications: { toolsListChanged: true } }, { meta: modernMeta })

  it("end the streams that were opened with them", async () => {
    const revoked = new AbortController()
    const at = await start(someone({ ends: revoked.signal }))
    const headers = await session(at)
    const streams = [await listen(at), await fetch(at.url, { headers })]
    expect(streams.map(({ status }) => status)).toEqual([200, 200])
    revoked.abort()
    const [listened] = await Promise.all(streams.map(textOf))
    expect(listened).toContain('"resultType":"complete"')
    expect(await textOf(await listen(at)), "a stream opened too late ends at once").toContain("complete")
  })

  it("end the answers that are being streamed to them, in either era", async () => {
    const revoked = new AbortController()
    let aborted = 0
    const slow: FakeService = {
      namespace: "slow",
      face: { tools: [{ name: "go", inputSchema: { type: "object" } }] },
      async *call(_request, { signal }) {
        yield { method: "notifications/progress", params: { progressToken: 1, progress: 1 } }
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))
        aborted++
        return { content: [] }
      },
    }
    const at = await served([slow], {
      authenticators: [{ authenticate: () => someone({ ends: revoked.signal }) }],
    })
    open.push(at)
    const params = { name: "slow__go" }
    const legacy = { jsonrpc: "2.0", id: 1, method: "tools/call", params }
    const answers = [
      await modern(at, "tools/call", params),
      await at.post(legacy),
      await at.post(legacy, await session(at)),
    ]
    revoked.abort()
    for (const text of await Promise.all(answers.map(textOf))) expect(text).not.toContain('"result"')
    expect(aborted, "the call of a session goes on until that ends").toBeGreaterThanOrEqual(2)
  })

  it("do so also when their time is over", async () => {
    const at = await start(someone({ expiresAt: Date.now() + 50 }))
    const headers = await session(at)
    await Promise.all([await listen(at), await fetch(at.url, { headers })].map(textOf))
  })
})

describe("a service that comes up with other tools than were known of it", () => {
  it("is judged again before the call reaches it", async () => {
    const inner = fixedSource([fake(notes)])
    const [known] = inner.snapshot().services as [ServiceView]
    const stored: Interface = { ...(known.interface as Interface), instructions: "as it was" }
    let up = false
    const reached: string[] = []
    const source: BackendSource = {
      ...inner,
      snapshot: () => ({ generation: 1, services: [up ? known : { ...known, interface: stored, stale: true }] }),
      async acquire(...asked) {
        up = true
        const lease = await inner.acquire(...asked)
        const call: Backend["call"] = (...given) => {
          reached.push("call")
          return lease.backend.call(...given)
        }
        return { ...lease, backend: { ...lease.backend, call } }
      },
    }
    const judged: (Interface | undefined)[] = []
    const policy: Policy = {
      ...openPolicy(),
      refusal({ service }) {
        judged.push(service.interface)
        return new ClarityError("policy_denied", "not as it is now")
      },
    }
    const at = await served([], { source, policy })
    open.push(at)
    const [answer] = await messages(await modern(at, "tools/call", { name: "notes__read" }))
    expect(answer?.["result"]).toMatchObject({ isError: true, content: [{ text: "not as it is now" }] })
    expect(judged).toEqual([known.interface])
    expect(reached).toEqual([])
  })
})

describe("rules that change", () => {
  it("are told to whoever keeps a list, in either era", async () => {
    const changes = createBroadcast<void>(4)
    const policy: Policy = { ...openPolicy(), changes: (signal) => changes.subscribe(signal) }
    const at = await start(someone(), policy)
    const headers = await session(at)
    const listened = await modern(at, "subscriptions/listen", { notifications: { toolsListChanged: true } })
    const standing = await fetch(at.url, { headers })
    const [reading, standingReader] = [listened, standing].map((response) =>
      (response.body as ReadableStream<Uint8Array>).getReader(),
    )
    const until = async (reader: ReadableStreamDefaultReader<Uint8Array> | undefined, word: string) => {
      let text = ""
      while (!text.includes(word)) text += new TextDecoder().decode((await reader?.read())?.value)
      return text
    }
    await until(reading, "acknowledged")
    changes.publish()
    expect(await until(reading, "list_changed")).toContain("notifications/tools/list_changed")
    expect(await until(standingReader, "resources/list_changed")).toContain("notifications/tools/list_changed")
    await Promise.all([reading?.cancel(), standingReader?.cancel()])
  })
})
