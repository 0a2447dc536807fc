import { Client as ModernClient } from "@modelcontextprotocol/client"
import { StdioClientTransport as ModernStdio } from "@modelcontextprotocol/client/stdio"
import { Client as LegacyClient } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport as LegacyStdio } from "@modelcontextprotocol/sdk/client/stdio.js"
import {
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js"
import { createControlClient, type ControlClient } from "@clarity-runtime/control/client"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { ctlArguments, inRoot, testDaemon, type TestDaemon } from "../../test/processes.ts"

let daemon: TestDaemon
let control: ControlClient
const open: { close(): Promise<void> }[] = []

beforeAll(async () => {
  daemon = await testDaemon()
  control = createControlClient({ url: daemon.url })
  await add("notes", [inRoot("examples/notes-stdio/server.js")])
  await add("all", ["--conditions=@clarity-runtime/source", inRoot("test/fixtures/everything/line-one.ts"), "stdio"])
}, 60_000)
afterEach(async () => {
  for (const client of open.splice(0)) await client.close()
})
afterAll(() => daemon[Symbol.asyncDispose]())

async function add(module: string, args: string[]): Promise<void> {
  const manifest = {
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: module, module },
    spec: { origin: { type: "local_stdio", command: process.execPath, args } },
  }
  const { service } = await control.applyManifest({ manifest, startNow: true })
  expect([module, service.runtime.lastError, service.runtime.lifecycle]).toEqual([module, undefined, "RUNNING"])
}

const serve = (...more: string[]) => ({
  command: process.execPath,
  args: [...ctlArguments, "gateway", "serve", "--stdio", "--daemon-url", daemon.url, ...more],
})

async function legacy(capabilities = {}, ...more: string[]): Promise<LegacyClient> {
  const client = new LegacyClient({ name: "legacy", version: "1" }, { capabilities })
  open.push(client)
  await client.connect(new LegacyStdio(serve(...more)))
  return client
}

async function modern(...more: string[]): Promise<ModernClient> {
  const client = new ModernClient(
    { name: "modern", version: "1" },
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  )
  open.push(client)
  await client.connect(new ModernStdio(serve(...more)))
  return client
}

const textOf = (result: unknown) => (result as { content: { text: string }[] }).content[0]?.text

describe("a client of the SDK's first line over stdio", () => {
  it("lists, calls, reads, gets", async () => {
    const client = await legacy()
    const names = (await client.listTools()).tools.map(({ name }) => name)
    expect(names).toContain("notes__add_note")
    expect(names).toContain("runtime__status_summary")
    expect(textOf(await client.callTool({ name: "notes__add_note", arguments: { title: "é", text: "x" } }))).toContain(
      'kept "é"',
    )
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toContain("notes__summarise")
    const { resources } = await client.listResources()
    const [note] = resources.filter(({ uri }) => uri.startsWith("notes+"))
    expect((await client.readResource({ uri: note?.uri ?? "" })).contents[0]).toHaveProperty("text")
    await expect(client.callTool({ name: "notes__nope", arguments: {} })).rejects.toThrow("unknown tool: notes__nope")
  })

  it("sees one service alone under its own names", async () => {
    const client = await legacy({}, "--service", "notes")
    expect((await client.listTools()).tools.map(({ name }) => name).sort()).toEqual(["add_note", "list_notes"])
  })

  it("is asked in the middle of a call, and told progress", async () => {
    const client = await legacy({ elicitation: { form: {} } })
    client.setRequestHandler(ElicitRequestSchema, async () => ({
      action: "accept",
      content: { username: "ada", email: "a@b.example" },
    }))
    const asked = await client.callTool({ name: "all__test_elicitation", arguments: { message: "who?" } })
    expect(JSON.stringify(asked)).toContain("accept")
    const steps: number[] = []
    await client.callTool({ name: "all__test_tool_with_progress", arguments: {} }, undefined, {
      onprogress: ({ progress }) => steps.push(progress),
    })
    expect(steps.length).toBeGreaterThan(0)
  })

  it("hears of list changes", async () => {
    const client = await legacy()
    const changed = new Promise((resolve) => client.setNotificationHandler(ToolListChangedNotificationSchema, resolve))
    const { items } = await control.listServices({ match: "notes" })
    await control.stopService({ id: items[0]?.serviceId ?? "" })
    await changed
    expect((await client.listTools()).tools.map(({ name }) => name)).not.toContain("notes__add_note")
    await control.startService({ id: items[0]?.serviceId ?? "" })
  })

  it("goes on when the daemon is started anew, subscriptions included", async () => {
    const client = await legacy()
    const updated = new Promise((resolve) => client.setNotificationHandler(ResourceUpdatedNotificationSchema, resolve))
    const { resources } = await client.listResources()
    const watched = resources.find(({ uri }) => uri.startsWith("all+"))?.uri ?? ""
    await client.subscribeResource({ uri: watched })
    const relisted = new Promise((resolve) => client.setNotificationHandler(ToolListChangedNotificationSchema, resolve))
    await daemon.stop("SIGKILL")
    const early = client.listTools()
    await daemon.start()
    expect((await early).tools.length).toBeGreaterThan(5)
    await relisted
    expect(textOf(await client.callTool({ name: "notes__list_notes", arguments: {} }))).toContain("welcome")
    void updated
  })
})

describe("a client of the SDK's second line over stdio", () => {
  it("lists, calls, reads", async () => {
    const client = await modern()
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain("notes__add_note")
    expect(textOf(await client.callTool({ name: "notes__add_note", arguments: { title: "a", text: "b" } }))).toContain(
      'kept "a"',
    )
    await expect(client.callTool({ name: "nope__x", arguments: {} })).rejects.toThrow("unknown tool: nope__x")
  })

  it("negotiates by itself", async () => {
    const client = new ModernClient({ name: "auto", version: "1" }, { versionNegotiation: { mode: "auto" } })
    open.push(client)
    await client.connect(new ModernStdio(serve()))
    expect(client.getNegotiatedProtocolVersion()).toBe("2026-07-28")
  })

  it("cancels a call, and others do not wait for it", async () => {
    const client = await modern()
    const stop = new AbortController()
    const slow = client.callTool({ name: "all__test_tool_with_progress", arguments: {} }, { signal: stop.signal })
    stop.abort(new Error("enough"))
    await expect(slow).rejects.toThrow(/enough/)
    expect((await client.listTools()).tools.length).toBeGreaterThan(5)
  })
})
