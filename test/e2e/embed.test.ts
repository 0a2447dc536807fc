import { createRequire } from "node:module"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { legacyClient, modernClient } from "./support/mcp.ts"
import { inRoot, inSupport, startProgram, type Program } from "./support/process.ts"

// The gateway in somebody else's Hono app (examples/embed-hono), as its README starts it.
const cwd = mkdtempSync(join(tmpdir(), "embed-"))
const programs: Program[] = []
let url = ""

function start(args: readonly string[], env: Record<string, string> = {}): Program {
  const program = startProgram(args, { cwd, env })
  programs.push(program)
  return program
}

beforeAll(async () => {
  const units = start([inRoot("examples/units-http/server.js"), "0"])
  const [remote] = await units.says(/http:\S+/)
  const app = start([inRoot("examples/embed-hono/server.js"), remote], { PORT: "0" })
  url = new URL((await app.says(/http:\S+/))[0]).origin
})

afterAll(async () => {
  for (const program of programs) program.child.kill()
  await Promise.all(programs.map(({ exited }) => exited))
  rmSync(cwd, { recursive: true, force: true })
})

const greeting = { name: "sample__fn__greet", arguments: { name: "Ada" } }
const distance = { name: "remote__convert", arguments: { value: 2, from: "km", to: "m" } }
const texts = ["Grüße, Ada! \\u2713 ✓", "2 km = 2000 m"]

interface AnyClient {
  listTools(): Promise<{ tools: readonly { name: string }[] }>
  callTool(params: typeof greeting | typeof distance): Promise<unknown>
  close(): Promise<void>
}

async function drive(client: AnyClient): Promise<void> {
  // The first list may be asked for before every service has been opened; calls wait for theirs.
  const answers = [await client.callTool(greeting), await client.callTool(distance)]
  expect(answers.map((answer) => (answer as { content: { text: string }[] }).content[0]?.text)).toEqual(texts)
  const { tools } = await client.listTools()
  expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining([greeting.name, distance.name]))
  await client.close()
}

describe("a gateway mounted in a Hono app", () => {
  it("serves the official client of the first SDK line", async () => drive((await legacyClient(url)) as AnyClient))

  it("serves the official client of the second SDK line", async () => drive((await modernClient(url)) as AnyClient))

  it("serves one service under its own names", async () => {
    const client = await modernClient(url, "/sample")
    expect(await client.callTool({ name: "fn__units", arguments: { text: "four" } })).toMatchObject({
      structuredContent: { result: 4 },
    })
    await client.close()
  })

  it("leaves the app's other routes alone", async () => {
    expect(await (await fetch(url)).text()).toBe("an app of its own\n")
    expect((await fetch(`${url}/elsewhere`)).status).toBe(404)
  })

  it("brings nothing that runs services or keeps files", async () => {
    const gateway = createRequire(inRoot("examples/embed-hono/app.js")).resolve("@clarity-runtime/gateway")
    const program = start([inSupport("loaded.mjs"), pathToFileURL(gateway).href])
    expect(await program.exited).toBe(0)
    const loaded = program.stdout().split("\n").filter(Boolean)
    const packages = loaded
      .filter((line) => line.startsWith("file:"))
      .map((line) => /node_modules\/(?:\.pnpm\/.*\/node_modules\/)?((?:@[^/]+\/)?[^/]+)|packages\/([^/]+)/.exec(line))
      .map((match) => match?.[1] ?? match?.[2] ?? "unknown")
    expect(packages).toContain("gateway")
    expect(packages.filter((name) => !["contracts", "gateway", "hono", "valibot"].includes(name))).toEqual([])
    expect(loaded.filter((line) => /^node:(?:worker_threads|child_process|https?2?)$/.test(line))).toEqual([])
  })

  it("ends when it is told to", async () => {
    const [, app] = programs
    app?.child.kill("SIGTERM")
    expect(await app?.exited).toBe(0)
  })
})
