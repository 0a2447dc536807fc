import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import { ask, callTool, eras, failureOf, namesOf, send, textOf } from "./support/mcp.ts"
import { stage, stdioActor, type Stage } from "./support/stage.ts"

let workspace: string
let daemon: Daemon
let actor: Stage
let id: string

const rulesAt = () => join(workspace, ".clarity", "policy.json")
const install = (file: unknown) => {
  writeFileSync(`${rulesAt()}.new`, typeof file === "string" ? file : JSON.stringify(file))
  renameSync(`${rulesAt()}.new`, rulesAt())
}
const rules = (list: object[], more: object = {}) => ({ apiVersion: "clarity.policy/v1", rules: list, ...more })
/** In force when this resolves. */
async function inForce(file: unknown) {
  install(file)
  return daemon.client.reloadPolicy({})
}

beforeAll(async () => {
  workspace = temporaryDirectory()
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  daemon = await startDaemon({ workspace })
  actor = stage(workspace, "actor")
  id = (await daemon.register(manifest("acting", stdioActor(actor)))).serviceId
})
afterAll(() => daemon[Symbol.asyncDispose]())

describe("a denied tool", () => {
  beforeAll(() => inForce(rules([{ effect: "deny", tools: ["PID"], reason: "CANARY-reason" }])))
  const gone = { code: -32602, message: expect.stringMatching(/^unknown tool: /) }

  it.each(eras)("is not listed and not called, by any name or endpoint (%s)", async (era) => {
    expect(await namesOf(daemon.url, "tools", { era })).not.toContain("acting__pid")
    expect(await namesOf(daemon.url, "tools", { era, path: "/acting" })).not.toContain("pid")
    expect(await namesOf(daemon.url, "tools", { era, path: "/acting" })).toContain("echo")
    for (const [name, path] of [
      ["acting__pid", ""],
      ["acting__PID", ""],
      ["acting__p\u200bid", ""],
      ["pid", "/acting"],
      ["acting__pid", "/acting"],
    ] as const) {
      const { error } = await ask(
        daemon.url,
        era,
        "tools/call",
        { name, arguments: {} },
        { path, headers: headersFor(name) },
      )
      expect([name, error]).toEqual([name, expect.objectContaining(gone)])
      expect(JSON.stringify(error)).not.toContain("CANARY")
    }
  })

  it("answers like one that does not exist, word for word", async () => {
    const answer = async (name: string) =>
      JSON.stringify(await ask(daemon.url, "modern", "tools/call", { name, arguments: {} })).replaceAll(name, "X")
    expect(await answer("acting__pid")).toBe(await answer("acting__zzz"))
  })

  it("is not called from the control API either", async () => {
    await expect(daemon.client.callTool({ tool: "acting__pid" })).rejects.toMatchObject({
      message: expect.stringContaining("unknown tool"),
    })
  })
})

/** A name outside ASCII does not go into a header as it is. */
function headersFor(name: string): Record<string, string> {
  return /^[\x20-\x7e]*$/.test(name) ? {} : { "mcp-name": `=?base64?${Buffer.from(name).toString("base64")}?=` }
}

describe("a changed file", () => {
  it("is in force for lists and calls, and clients hear of it", async () => {
    await inForce(rules([]))
    const stop = new AbortController()
    const stream = await listen(stop.signal)
    install(rules([{ effect: "deny", tools: ["echo"] }]))
    await stream.until("notifications/tools/list_changed")
    stop.abort()
    expect(await namesOf(daemon.url)).not.toContain("acting__echo")
    await expect(callTool(daemon.url, "acting__echo", { text: "x" })).rejects.toThrow("unknown tool")
  })

  it("that is wrong changes nothing, and the status says so", async () => {
    await inForce(rules([{ effect: "deny", tools: ["echo"] }]))
    const { version } = await daemon.client.policyStatus({})
    expect(await inForce('{"apiVersion":"clarity.policy/v1","rules":[')).toMatchObject({
      version,
      closed: false,
      file: join(".clarity", "policy.json"),
      problem: expect.stringContaining("not valid JSON"),
    })
    expect(await namesOf(daemon.url)).not.toContain("acting__echo")
  })
})

describe("a call that needs approval", () => {
  beforeAll(() => inForce(rules([{ name: "careful", effect: "ask", tools: ["echo"] }])))

  it("goes through once after an operator said yes, with these arguments only", async () => {
    const call = (text: string) => callTool(daemon.url, "acting__echo", { text })
    const refused = await call("a")
    expect(failureOf(refused)).toMatchObject({ code: "policy_denied", reason: "approval_required" })
    const [approval] = (await daemon.client.listApprovals({})).items
    expect(textOf(refused)).toContain(`clarityctl approvals approve ${approval?.id}`)
    await daemon.client.approveCall({ id: approval?.id ?? "" })
    expect(failureOf(await call("b"))["code"]).toBe("policy_denied")
    expect(textOf(await call("a"))).toBe("a")
    expect(failureOf(await call("a"))["code"]).toBe("policy_denied")
    const { items } = await daemon.client.getAudit({ limit: 50 })
    const kinds = items.map(({ kind }) => kind)
    for (const kind of ["policy.asked", "policy.granted", "policy.consumed"]) expect(kinds).toContain(kind)
  })
})

describe("pinned tools", () => {
  it("stay as they were approved, across a restart of the daemon", async () => {
    await inForce(rules([], { pin: ["acting"] }))
    expect(await namesOf(daemon.url)).toContain("acting__echo")
    expect(await daemon.client.getDrift({ id })).toMatchObject({ items: [] })
    actor.setTools("surprise")
    await daemon.client.introspectService({ id })
    expect(await namesOf(daemon.url)).not.toContain("acting__surprise")
    await expect(callTool(daemon.url, "acting__surprise")).rejects.toThrow("unknown tool")
    await daemon.stop()
    daemon = await startDaemon({ workspace })
    expect(await namesOf(daemon.url)).toContain("acting__echo")
    expect(await namesOf(daemon.url)).not.toContain("acting__surprise")
    const drift = await daemon.client.getDrift({ id })
    expect(drift.items).toEqual([{ tool: "surprise", kind: "new", fields: [] }])
    const revision = drift.interfaceRevision === null ? {} : { revision: drift.interfaceRevision }
    await daemon.client.approveTools({ id, tools: ["surprise"], ...revision })
    expect(await namesOf(daemon.url)).toContain("acting__surprise")
  })
})

describe("a daemon that starts", () => {
  it("with a wrong file has its last good rules, and without any refuses everything but the status", async () => {
    await inForce(rules([{ effect: "deny", tools: ["echo"] }]))
    await daemon.stop()
    writeFileSync(rulesAt(), "{")
    daemon = await startDaemon({ workspace })
    expect(await daemon.client.policyStatus({})).toMatchObject({ rules: 1, closed: false })
    expect(await namesOf(daemon.url)).not.toContain("acting__echo")
    await daemon.stop()
    for (const copy of ["", ".prev"]) rmSync(join(workspace, ".clarity", "runtime", `policy-last-good.json${copy}`))
    daemon = await startDaemon({ workspace })
    expect(await daemon.client.policyStatus({})).toMatchObject({ rules: 0, closed: true })
    expect((await namesOf(daemon.url)).sort()).toEqual(["runtime__policy_status", "runtime__status_summary"])
    expect(textOf(await callTool(daemon.url, "runtime__policy_status"))).toContain("not valid JSON")
    await inForce(rules([]))
    expect(await namesOf(daemon.url)).toContain("acting__echo")
  })

  it("with a file that was named and is not there refuses everything", async () => {
    const other = temporaryDirectory()
    await using closed = await startDaemon({ workspace: other, args: ["--policy", "rules.json"] })
    expect(await closed.client.policyStatus({})).toMatchObject({ closed: true, problem: "rules.json is not there" })
  })
})

/** A stream of changes, opened as a modern client does. */
async function listen(signal: AbortSignal) {
  const notifications = { toolsListChanged: true }
  const response = await send(daemon.url, "modern", "subscriptions/listen", { notifications }, { signal })
  const reader = (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  const until = async (words: string) => {
    while (!text.includes(words)) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`the stream ended: ${text}`)
      text += value
    }
  }
  await until("acknowledged")
  return { until }
}

it("bounds a run by what the environment says where the rules are silent", async () => {
  const env = { CLARITY_BUDGET_MAX_TOOL_CALLS_PER_RUN: "2", CLARITY_BUDGET_MAX_TOTAL_COST_USD: "0.5" }
  await using bounded = await startDaemon({ env })
  await bounded.register(manifest("acting", stdioActor(stage(bounded.workspace, "acting"))))
  const call = (run: string) =>
    callTool(bounded.url, "acting__echo", { text: "so far" }, { headers: { "x-clarity-run-id": run } })
  for (let n = 0; n < 2; n++) expect(textOf(await call("a"))).toBe("so far")
  expect(failureOf(await call("a"))).toMatchObject({ code: "policy_denied", reason: "budget" })
  expect(textOf(await call("b"))).toBe("so far")
})
