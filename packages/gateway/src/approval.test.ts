import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { ClarityError, type AdmissionInput, type Policy } from "@clarity-runtime/contracts"
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StreamableHTTPClientTransport as LegacyTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js"
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js"
import { afterEach, describe, expect, it } from "vitest"
import { previewOf } from "./approval.ts"
import { messages, modern, openPolicy, served, type FakeService, type Served } from "../test-support/served.ts"

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of open.splice(0)) await thing[Symbol.asyncDispose]()
})

/** Asks for every first round of `wipe`, and lets it through once after a yes, as the real policy does. */
function askingPolicy(byClient = true) {
  const inner = openPolicy()
  const seen: AdmissionInput[] = []
  const answers: { id: string; principal: string; approved: boolean }[] = []
  const grants = new Set<string>()
  let forbidden = false
  const policy: Policy = {
    async admit(input, signal) {
      seen.push(input)
      const digest = input.digest?.() ?? ""
      if (input.target === "wipe" && input.continued !== true && !grants.delete(digest)) {
        const approval = { id: `apr_${digest}`, question: "Wipe the disk?", byClient, expiresAt: 1 }
        return { kind: "ask", approval }
      }
      const admission = await inner.admit(input, signal)
      return admission.kind === "permit"
        ? { kind: "permit", permit: { ...admission.permit, granted: input.target === "wipe" } }
        : admission
    },
    answer(id, principal, approved) {
      answers.push({ id, principal: principal.id, approved })
      if (approved && byClient) grants.add(id.slice(4))
    },
    refusal: () => (forbidden ? new ClarityError("policy_denied", "forbidden since") : undefined),
  }
  return { policy, inner, seen, answers, grants, forbid: () => (forbidden = true) }
}

let wiped: unknown[] = []
const disk: FakeService = {
  namespace: "disk",
  tools: {
    wipe: (args, _context, { params }) => {
      wiped.push(params)
      return `wiped ${String(args["what"])}`
    },
    look: () => "looked",
  },
}

async function start(policy: Policy, service: FakeService = disk): Promise<Served> {
  wiped = []
  const at = await served([service], { policy })
  open.push(at)
  return at
}

const canElicit = { meta: { "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } } }
const yes = { clarity_approval: { action: "accept", content: { approve: true } } }
const wipe = { name: "disk__wipe", arguments: { what: "/dev/sda" } }

describe("a call that a person must approve", () => {
  it("is put to the caller's person, and goes through once after a yes", async () => {
    const { policy, answers, inner } = askingPolicy()
    const at = await start(policy)
    const [asked] = await messages(await modern(at, "tools/call", wipe, canElicit))
    expect(asked?.["result"]).toMatchObject({
      resultType: "input_required",
      inputRequests: {
        clarity_approval: {
          method: "elicitation/create",
          params: { mode: "form", message: 'Wipe the disk?\n\nArguments: {"what":"/dev/sda"}' },
        },
      },
    })
    expect(wiped).toEqual([])
    const requestState = asked?.["result"].requestState as string
    const again = { ...wipe, requestState, inputResponses: yes }
    const [done] = await messages(await modern(at, "tools/call", again, canElicit))
    expect(done?.["result"]).toMatchObject({ content: [{ text: "wiped /dev/sda" }] })
    expect(wiped, "the service sees nothing of the question").toEqual([
      { name: "wipe", arguments: { what: "/dev/sda" } },
    ])
    expect(answers).toMatchObject([{ principal: "everyone", approved: true }])
    expect(inner.settled).toHaveLength(1)
    const decisions = at.events.filter(({ kind }) => kind === "mcp.tool_called").map(({ data }) => data?.["decision"])
    expect(decisions).toEqual(["ask", "allow"])
  })

  it.each([
    ["no", { clarity_approval: { action: "decline" } }],
    ["an unticked box", { clarity_approval: { action: "accept", content: { approve: false } } }],
    ["a text for a tick", { clarity_approval: { action: "accept", content: { approve: "true" } } }],
    ["nothing", {}],
    ["an answer to another question", { other: { action: "accept", content: { approve: true } } }],
  ])("%s is a no", async (_name, inputResponses) => {
    const { policy, answers } = askingPolicy()
    const at = await start(policy)
    const [asked] = await messages(await modern(at, "tools/call", wipe, canElicit))
    const requestState = asked?.["result"].requestState as string
    const [done] = await messages(await modern(at, "tools/call", { ...wipe, requestState, inputResponses }, canElicit))
    expect(done?.["result"]).toMatchObject({
      isError: true,
      _meta: { "dev.clarity-runtime/error": { reason: "declined" } },
    })
    expect(answers.map(({ approved }) => approved)).toEqual([false])
    expect(wiped).toEqual([])
  })

  it("a yes is good for no other arguments", async () => {
    const { policy } = askingPolicy()
    const at = await start(policy)
    const [asked] = await messages(await modern(at, "tools/call", wipe, canElicit))
    const requestState = asked?.["result"].requestState as string
    const other = { name: "disk__wipe", arguments: { what: "/home" }, requestState, inputResponses: yes }
    expect((await messages(await modern(at, "tools/call", other, canElicit)))[0]).toMatchObject({
      error: { code: -32602 },
    })
    const otherTool = { ...wipe, name: "disk__look", requestState, inputResponses: yes }
    expect((await messages(await modern(at, "tools/call", otherTool, canElicit)))[0]).toMatchObject({
      error: { code: -32602 },
    })
    expect(wiped).toEqual([])
  })

  it("is refused where nobody can be asked, naming what an operator can do", async () => {
    const { policy } = askingPolicy()
    const at = await start(policy)
    const [done] = await messages(await modern(at, "tools/call", wipe))
    expect(done?.["result"]).toMatchObject({
      isError: true,
      content: [{ text: expect.stringMatching(/Wipe the disk\?.*clarityctl approvals approve apr_/) }],
      _meta: { "dev.clarity-runtime/error": { code: "policy_denied", reason: "approval_required" } },
    })
    expect(wiped).toEqual([])
  })

  it("is not put to a caller who may not answer, and not asked for ever", async () => {
    const { policy } = askingPolicy(false)
    const at = await start(policy)
    const [done] = await messages(await modern(at, "tools/call", wipe, canElicit))
    expect(done?.["result"]).toMatchObject({ isError: true })
    const calls = await at.gateway.call(
      { method: "tools/call", params: wipe, meta: {} },
      { principal: { id: "inside", kind: "internal", scopes: ["admin"] }, signal: new AbortController().signal },
    )
    expect((await calls.next()).value).toMatchObject({ isError: true })
    expect(wiped).toEqual([])
  })

  it("is put to the person of a legacy client as a request on the call's stream", async () => {
    const { policy } = askingPolicy()
    const at = await start(policy)
    const client = new LegacyClient({ name: "old", version: "1" }, { capabilities: { elicitation: {} } })
    const asked: string[] = []
    client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
      asked.push(params.message)
      return { action: "accept", content: { approve: true } }
    })
    await client.connect(new LegacyTransport(new URL(at.url)) as never)
    open.push({ [Symbol.asyncDispose]: () => client.close() })
    expect(await client.callTool(wipe)).toMatchObject({ content: [{ text: "wiped /dev/sda" }] })
    expect(asked).toEqual(['Wipe the disk?\n\nArguments: {"what":"/dev/sda"}'])
  })
})

describe("what a person is shown of the arguments", () => {
  it("is whole where it is short, and says so where it is cut", () => {
    expect(previewOf({ name: "t", arguments: { a: 1 } })).toBe('Arguments: {"a":1}')
    expect(previewOf({ name: "t" })).toBe("Arguments: {}")
    expect(previewOf({ uri: "x", more: 1 })).toBe('Arguments: {"arguments":{},"more":1}')
    const long = previewOf({ arguments: { text: "x".repeat(5000) } })
    expect(long).toMatch(/^Arguments \(the first 2000 of 5011 characters\): \{"text":"x+$/)
  })

  it("holds on to nothing of what it was cut from", () => {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void
    const used = () => {
      collect()
      return process.memoryUsage().heapUsed
    }
    const before = used()
    const kept = Array.from({ length: 64 }, (_, n) => previewOf({ arguments: { n, long: "x".repeat(1_000_000) } }))
    expect((used() - before) / 1e6).toBeLessThan(20)
    expect(kept[0]).toMatch(/^Arguments \(the first 2000 of 10000\d\d characters\): \{"n":0,"long":"x+$/)
  })

  it("hides nothing behind characters that cannot be seen", () => {
    expect(previewOf({ arguments: { to: "a\u202eb\u200bc\u2028" } })).toBe(
      'Arguments: {"to":"a\\u{202e}b\\u{200b}c\\u{2028}"}',
    )
  })
})

describe("an approved call whose service asks back", () => {
  const asking: FakeService = {
    namespace: "disk",
    tools: {
      wipe: (_args, _context, { params }) => {
        wiped.push(params)
        if (params["requestState"] === "step-1") return "wiped"
        const which = {
          method: "elicitation/create",
          params: { message: "Which?", requestedSchema: { type: "object" } },
        }
        return { resultType: "input_required", requestState: "step-1", inputRequests: { which } }
      },
    },
  }

  it("is not put to the person again, and what brings it back is good for one time", async () => {
    const { policy, seen } = askingPolicy()
    const at = await start(policy, asking)
    const call = async (params: object) =>
      (await messages(await modern(at, "tools/call", { ...wipe, ...params }, canElicit)))[0]
    const question = await call({})
    const back = await call({ requestState: question?.["result"].requestState, inputResponses: yes })
    expect(back?.["result"].inputRequests).toHaveProperty("which")
    const state = back?.["result"].requestState as string
    const answer = { requestState: state, inputResponses: { which: { action: "accept", content: {} } } }
    expect((await call(answer))?.["result"]).toMatchObject({ content: [{ text: "wiped" }] })
    expect(seen.at(-1)?.continued).toBe(true)
    expect(await call(answer), "a second time").toMatchObject({ error: { code: -32602 } })
    expect(wiped).toHaveLength(2)
  })
})

describe("a call that nobody was asked about, whose service asks back", () => {
  it("is no later round of an approved one: rules that ask since then do so", async () => {
    const { policy, seen } = askingPolicy()
    const at = await start(policy, {
      namespace: "disk",
      tools: {
        look: () => ({ resultType: "input_required", requestState: "step-1", inputRequests: {} }),
      },
    })
    const look = { name: "disk__look" }
    const [back] = await messages(await modern(at, "tools/call", look))
    const requestState = back?.["result"].requestState as string
    await modern(at, "tools/call", { ...look, requestState, inputResponses: {} })
    expect(seen.map(({ continued }) => continued)).toEqual([false, false])
  })
})

describe("a parked call under rules that changed meanwhile", () => {
  it("does not go on, and is over upstream as well", async () => {
    const { policy, forbid, inner } = askingPolicy()
    const given: string[] = []
    const at = await start(policy, {
      namespace: "p",
      face: { tools: [{ name: "wait", inputSchema: { type: "object" } }] },
      parks: (state) => state === "handle",
      unpark: (state) => void given.push(state),
      async *call() {
        return { resultType: "input_required", requestState: "handle", inputRequests: {} }
      },
    })
    const [asked] = await messages(await modern(at, "tools/call", { name: "p__wait" }))
    forbid()
    const requestState = asked?.["result"].requestState as string
    const [done] = await messages(await modern(at, "tools/call", { name: "p__wait", requestState, inputResponses: {} }))
    expect(done?.["result"]).toMatchObject({ isError: true, content: [{ text: "forbidden since" }] })
    expect(given).toEqual(["handle"])
    expect(inner.settled).toHaveLength(1)
  })
})

describe("what a decision is given", () => {
  it("says whose run it is and whether anybody can be asked, whatever the era", async () => {
    const { policy, seen } = askingPolicy()
    const at = await start(policy)
    const look = { name: "disk__look" }
    await modern(at, "tools/call", look, { meta: { "dev.clarity-runtime/run": "run-7" } })
    await modern(at, "tools/call", look, { ...canElicit, headers: { "x-clarity-run-id": "run-8" } })
    await at.post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: look }, { "x-clarity-run-id": "run\t9" })
    expect(seen.map(({ run, canAsk }) => [run, canAsk])).toEqual([
      ["run-7", false],
      ["run-8", true],
      [undefined, false],
    ])
  })
})
