import { equal } from "node:assert/strict"
import { copyFileSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { anonymous } from "@clarity-runtime/auth-providers"
import { parseManifest } from "@clarity-runtime/contracts"
import { createGateway, openOnUse, type Gateway } from "@clarity-runtime/gateway"
import { standardPolicy } from "@clarity-runtime/policy"
import { createRegistry, memoryStore } from "@clarity-runtime/registry"
import { wasmBackends } from "@clarity-runtime/wasm-host"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { manifest, startDaemon, wasm, type Daemon } from "./support/daemon.ts"
import { ask, callTool, failureOf, namesOf, textOf, type Message } from "./support/mcp.ts"
import { inRoot } from "./support/process.ts"

interface Case {
  readonly fn: string
  readonly args: Record<string, unknown> | unknown[]
  readonly value?: unknown
  readonly error?: string
}

const fixture = (name: string) => inRoot(`test/fixtures/clarity/${name}`)
const expectations = JSON.parse(readFileSync(fixture("expect.json"), "utf8")) as Record<string, Case[]>
const refused = ["notes", "vault"]
const scripted = ["clock", "dice"]
const modules = Object.keys(expectations).map((name) => name.replace(/\.wasm$/, ""))
const plain = modules.filter((name) => ![...refused, ...scripted].includes(name))
const casesOf = (name: string) => expectations[`${name}.wasm`] ?? []

/** The named arguments, which must be those that the schema asks for. */
function argumentsFor(tool: Message | undefined, args: Case["args"]): Record<string, unknown> {
  const { properties = {}, required = [], additionalProperties } = tool?.["inputSchema"] ?? {}
  const names = Object.keys(properties)
  const named = Array.isArray(args) ? Object.fromEntries(names.map((name, index) => [name, args[index]])) : args
  expect(additionalProperties).toBe(false)
  expect(names).toEqual(expect.arrayContaining(Object.keys(named)))
  expect(Object.keys(named)).toEqual(expect.arrayContaining(required))
  return named
}

function expectOutcome(result: Message, { value, error }: Case): void {
  if (error === undefined) {
    expect(result).toMatchObject({
      content: [{ type: "text", text: typeof value === "string" ? value : JSON.stringify(value) }],
      structuredContent: { result: value },
    })
    expect(result["isError"]).toBeUndefined()
  } else {
    expect(result["isError"]).toBe(true)
    expect(textOf(result)).toContain(error)
  }
}

describe("modules of the compiler, through the daemon", () => {
  let daemon: Daemon
  let canary: () => Promise<Message>
  beforeAll(async () => {
    daemon = await startDaemon()
    await daemon.register(manifest("canary", wasm(fixture("ints.wasm"))))
    canary = () => callTool(daemon.url, "canary__fn__plus", { a: 2, b: 40 })
  })
  afterAll(() => daemon[Symbol.asyncDispose]())

  describe.each(plain)("%s", (name) => {
    let tools: Message[]
    beforeAll(async () => {
      const { runtime } = await daemon.register(manifest(name, wasm(fixture(`${name}.wasm`))))
      equal(`${runtime.lifecycle} ${runtime.health}`, "RUNNING HEALTHY")
      tools = (await ask(daemon.url, "modern", "tools/list", {}, { path: `/${name}` }))["result"].tools
    })

    it.each(casesOf(name))("$fn $args", async (example) => {
      const args = argumentsFor(
        tools.find((tool) => tool["name"] === `fn__${example.fn}`),
        example.args,
      )
      expectOutcome(await callTool(daemon.url, `${name}__fn__${example.fn}`, args), example)
    })

    it("breakage 19: offers what its source exports and no other function", () => {
      const source = readFileSync(fixture(`${name}.clarity`), "utf8")
      const exported = [...source.matchAll(/^export .*?function (\w+)/gm)].map(([, fn]) => `fn__${fn}`)
      const offered = tools.map((tool) => tool["name"])
      expect(offered.toSorted()).toEqual([...exported, "describe_service", "health_check"].toSorted())
    })
  })

  it("breakage 20: refuses arguments that the schema does not allow; types are never guessed", async () => {
    for (const args of [{}, { a: 1 }, { a: 1, b: "x" }, { a: 1, b: 2, c: 3 }, { a: 1.5, b: 1 }, { a: null, b: 1 }]) {
      const result = await callTool(daemon.url, "canary__fn__plus", args)
      expect(result["isError"]).toBe(true)
      expect(textOf(result)).not.toMatch(/\.ts|at Object/)
    }
    await daemon.register(manifest("ints", wasm(fixture("ints.wasm"))))
    // 0.9 tried 3^10 guesses of types here and never came back.
    const ten = Object.fromEntries([..."abcdefghij"].map((name) => [name, "1"]))
    expectOutcome(await callTool(daemon.url, "ints__fn__sum10", ten), { fn: "", args: [], value: 10 })
  })

  it("stops a call that never ends; the service and its neighbours answer meanwhile and afterwards", async () => {
    const spinner = { ...manifest("spin", wasm(fixture("spinner.wasm"))) }
    await daemon.register({ ...spinner, spec: { ...spinner.spec, limits: { timeoutMs: 500 } } })
    const spinning = callTool(daemon.url, "spin__fn__forever", { n: 0 })
    expect(textOf(await canary())).toBe("42")
    const cut = await spinning
    expect(failureOf(cut)).toMatchObject({ code: "upstream_timeout", service: "spin" })
    expect(textOf(await callTool(daemon.url, "spin__fn__countdown", { n: 9 }))).toBe("0")
  })

  it.each(refused)("refuses %s by name, for the effects it needs", async (name) => {
    const { runtime } = await daemon.register(manifest(name, wasm(fixture(`${name}.wasm`))))
    expect(runtime.lifecycle).not.toBe("RUNNING")
    expect(runtime.health).not.toBe("HEALTHY")
    expect(runtime.lastError).toContain(name === "notes" ? "FileSystem" : "Secret")
    expect(runtime.hint).toBeTypeOf("string")
    expect((await namesOf(daemon.url)).filter((tool) => tool.startsWith(`${name}__`))).toEqual([])
    expect(textOf(await canary())).toBe("42")
  })

  it.each(readdirSync(fixture("hostile")).filter((name) => name.endsWith(".wasm")))(
    "breakage 22: refuses or contains hostile/%s",
    async (file) => {
      const name = file.replace(".wasm", "")
      const pid = (await daemon.client.status({})).runtime.pid
      const { runtime } = await daemon.register(manifest(name, wasm(fixture(`hostile/${file}`))))
      if (name === "no_memory") {
        expect(runtime.lifecycle).toBe("RUNNING")
        expect(await namesOf(daemon.url, "tools", { path: "/no_memory" })).toContain("health_check")
      } else {
        expect(runtime.lifecycle).not.toBe("RUNNING")
        expect(runtime.lastError).toBeTypeOf("string")
        expect(runtime.lastError).not.toMatch(/\n\s+at /)
      }
      expect(textOf(await canary())).toBe("42")
      expect((await daemon.client.status({})).runtime.pid).toBe(pid)
    },
  )

  it("says why a module that is missing, a folder or empty cannot run, and mends itself on the next start", async () => {
    const path = join(daemon.workspace, "late.wasm")
    const late = await daemon.register(manifest("late", wasm(path)))
    expect(late.runtime).toMatchObject({ health: "DEGRADED", lastError: expect.stringContaining("does not exist") })
    const folder = await daemon.register(manifest("folder", wasm(daemon.workspace)))
    expect(folder.runtime.lastError).toMatch(/not a file|cannot be read/)
    copyFileSync(fixture("ints.wasm"), path)
    copyFileSync(fixture("ints.clarity"), join(daemon.workspace, "late.clarity"))
    const { service } = await daemon.client.startService({ id: late.serviceId })
    expect(service.runtime).toMatchObject({ lifecycle: "RUNNING", health: "HEALTHY" })
    expect(textOf(await callTool(daemon.url, "late__fn__plus", { a: 1, b: 1 }))).toBe("2")
  })
})

describe("modules with a clock and dice, with powers handed in", () => {
  let gateway: Gateway
  const owned: AsyncDisposable[] = []
  const own = <T extends AsyncDisposable>(thing: T): T => {
    owned.push(thing)
    return thing
  }
  beforeAll(async () => {
    const registry = own(await createRegistry({ store: memoryStore() }))
    for (const name of scripted) await registry.put(parseManifest(manifest(name, wasm(fixture(`${name}.wasm`)))))
    const backends = [own(wasmBackends({ powers: { now: 1_700_000_000_000, random: "min" } }))]
    const source = own(openOnUse({ registry, backends }))
    gateway = own(createGateway({ source, authenticators: [anonymous()], policy: standardPolicy() }))
  })
  afterAll(async () => {
    for (const thing of owned.toReversed()) await thing[Symbol.asyncDispose]()
  })

  async function send(method: string, params: object): Promise<Message> {
    const response = await gateway.fetch(
      new Request("http://localhost/mcp", {
        method: "POST",
        headers: { host: "localhost", "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
      }),
    )
    return ((await response.json()) as Message)["result"]
  }

  it.each(scripted.flatMap((name) => casesOf(name).map((example) => ({ name, ...example }))))(
    "$name $fn $args",
    async ({ name, ...example }) => {
      const tool = `${name}__fn__${example.fn}`
      await expect
        .poll(async () => (await send("tools/list", {}))["tools"].map((entry: Message) => entry["name"]))
        .toContain(tool)
      expectOutcome(await send("tools/call", { name: tool, arguments: example.args }), example)
    },
  )
})
