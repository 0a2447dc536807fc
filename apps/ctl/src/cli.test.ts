import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createControlClient, type ControlClient } from "@clarity-runtime/control/client"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  ctl as run,
  ctlArguments,
  freePort,
  inRoot,
  temporaryFolder,
  testDaemon,
  type TestDaemon,
} from "../test/processes.ts"

const module = inRoot("test/fixtures/clarity/ints.wasm")
const source = readFileSync(inRoot("test/fixtures/clarity/ints.clarity"), "utf8")
/** Stands in for clarityc: gives every source the same module, refuses one that says it is broken. */
const compilerText = `#!${process.execPath}
const { copyFileSync, readFileSync } = require("node:fs")
const [command, source, , output] = process.argv.slice(2)
if (command === "--version") process.stdout.write("0.9.0\\n")
else if (process.env.CLARITYD_AUTH_TOKEN || process.env.CLARITY_API_TOKEN) process.exitCode = 9
else if (readFileSync(source, "utf8") === "broken") {
  process.stderr.write("error: Unexpected token\\n --> " + source + ":1:1\\n\\n")
  process.exitCode = 1
} else copyFileSync(${JSON.stringify(module)}, output)
`
let compiler: string
const notes = [process.execPath, inRoot("examples/notes-stdio/server.js")]
let daemon: TestDaemon
let control: ControlClient
let folder: ReturnType<typeof temporaryFolder>

beforeAll(async () => {
  daemon = await testDaemon({ CLARITY_ENABLE_MCP_PROVISIONING: "1" })
  control = createControlClient({ url: daemon.url })
  folder = temporaryFolder()
  compiler = join(folder.path, "clarityc")
  writeFileSync(compiler, compilerText, { mode: 0o755 })
}, 60_000)
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  folder.remove()
})

const ctl = (args: readonly string[], options: { stdin?: string; env?: Record<string, string>; cwd?: string } = {}) =>
  run(args, {
    cwd: folder.path,
    ...options,
    env: { CLARITYD_URL: daemon.url, CLARITYC_BIN: compiler, ...options.env },
  })

const jsonOf = (text: string) =>
  JSON.parse(text) as Record<string, never> & { items: { namespace: string; serviceId: string }[] }

async function removeAll(): Promise<void> {
  for (const { serviceId } of (await control.listServices({})).items) await control.removeService({ id: serviceId })
}

describe("add", () => {
  it("compiles a source given by its bare name, in 0.9's words under --json", async () => {
    writeFileSync(join(folder.path, "abacus.clarity"), source)
    const { code, stdout, stderr } = await ctl(["add", "abacus", "--json"], {
      env: { CLARITYD_AUTH_TOKEN: "never for the compiler" },
    })
    expect([code, stderr]).toEqual([0, ""])
    const wasmPath = join(folder.path, ".clarity", "build", "abacus.wasm")
    const sourceFile = join(folder.path, "abacus.clarity")
    const serviceId = `svc_${createHash("sha256").update(`${sourceFile}|abacus|${wasmPath}`).digest("hex").slice(0, 12)}`
    expect(jsonOf(stdout)).toMatchObject({
      ok: true,
      serviceId,
      sourceFile,
      wasmPath,
      module: "abacus",
      lifecycle: "RUNNING",
    })
    const { service } = await control.getService({ id: serviceId })
    expect(service.manifest["metadata"]).toMatchObject({
      artifactSha256: createHash("sha256").update(readFileSync(wasmPath)).digest("hex"),
    })
    expect(
      await ctl(["add-local", "--source", "abacus.clarity", "--module", "abacus", "--wasm", wasmPath]),
    ).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(serviceId),
      stderr: expect.stringContaining("deprecated"),
    })
    expect(await ctl(["start-source", "--source", "abacus.clarity"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(serviceId),
    })
  })

  it("takes all that clarityc hands over, before and behind the command", async () => {
    const { code, stdout, stderr } = await ctl(
      [
        "--daemon-url",
        daemon.url,
        "--auth-token",
        "t",
        "add",
        join(folder.path, "abacus.clarity"),
        "--module",
        "helper",
        "--entry",
        "main",
        "--name",
        "Helper",
      ].concat(
        [
          "--service-type",
          "agent",
          "--agent-id",
          "h",
          "--agent-name",
          "Helper",
          "--agent-role",
          "helps",
          "--agent-objective",
          "help",
          "--agent-inputs",
          "a,b",
        ],
        [
          "--agent-outputs",
          "c",
          "--agent-mcp-tools",
          "x__y",
          "--agent-llm-providers",
          "openai",
          "--agent-handoff-targets",
          "z",
          "--agent-depends-on",
          "d",
        ],
        ["--agent-version", "1", "--agent-hitl", "--compiler-bin", compiler, "--json"],
      ),
      { env: { CLARITYD_URL: "http://127.0.0.1:1" } },
    )
    expect([code, stderr]).toEqual([0, ""])
    const summary = (await control.listServices({ match: String(jsonOf(stdout)["serviceId"]) })).items[0]
    expect(summary).toMatchObject({
      displayName: "Helper",
      serviceType: "agent",
      agent: { agentId: "h", role: "helps", inputs: ["a", "b"], hitl: true, handoffTargets: ["z"] },
    })
    // Said of every source that mentions people, agent or not.
    expect(await ctl(["add", "abacus.clarity", "--agent-hitl", "--no-start"])).toMatchObject({ code: 0, stderr: "" })
  })

  it("runs a command after --, with variables and secrets, and help of the command is not ours", async () => {
    await control.setAuthSecret({ authRef: "file:n", secret: "canary" })
    const added = await ctl([
      "add",
      "--name",
      "book",
      "--env",
      "A=b=c",
      "--env",
      "S=secret:file:n",
      "--cwd",
      ".",
      "--",
      ...notes,
      "--json",
      "--help",
    ])
    expect(added).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(/^book \(svc_[0-9a-f]{12}\): RUNNING HEALTHY, 2 tools as book__\*\n$/),
    })
    const shown = await ctl(["details", "book", "--json"])
    expect(jsonOf(shown.stdout)).toMatchObject({
      service: {
        manifest: {
          spec: {
            origin: {
              cwd: folder.path,
              env: [
                { name: "A", set: true },
                { name: "S", secretRef: "file:n" },
              ],
            },
          },
        },
      },
    })
    expect(shown.stdout).not.toContain("canary")
  })

  it("exits with 1 when what it added does not run, and says why", async () => {
    const { code, stdout, stderr } = await ctl(["add", "--name", "gone", "--json", "--", "no-such-program-anywhere"])
    expect([code, jsonOf(stdout)]).toMatchObject([
      1,
      { ok: false, module: "gone", lastError: expect.stringContaining("no-such-program-anywhere") },
    ])
    expect(stderr).toMatch(/^clarityctl: gone is registered but does not run: .*no-such-program-anywhere.*\n$/)
    expect((await ctl(["remove", "gone"])).code).toBe(0)
  })

  it.concurrent.each([
    [["add"], 1, "nothing to add; give a URL"],
    [["add", "missing"], 1, "missing.clarity; what can be added is"],
    [["add", "missing.wasm"], 1, "missing.wasm"],
    [["add", "ftp://x"], 1, "only http and https servers"],
    [["add", "."], 1, "add-all adds what is in it"],
    [["add", "abacus", "--", "x"], 1, "both abacus and a command"],
    [["add", "--"], 1, "nothing follows --"],
    [["add", "--env", "A", "--", "x"], 1, "--env wants NAME=VALUE"],
    [["add", "http://user:secret@h.example/"], 65, "must not contain credentials"],
    [
      ["add", "abacus", "--compiler-bin", "/no/clarityc"],
      78,
      "install the Clarity compiler (clarityc) and put it on PATH, or set CLARITYC_BIN",
    ],
    [["add", "--nonsense"], 2, "--nonsense"],
    [["nonsense"], 2, "nonsense"],
    [["start", "nobody"], 1, "no service is called nobody"],
    [["call", "x__y", "--json", "{"], 1, "the arguments are not valid JSON"],
    [["call", "x__y", "--json", "[]"], 1, "the arguments must be a JSON object"],
    [["call", "x__y", "--json", "@missing"], 1, "missing cannot be read"],
    [["gateway", "serve"], 1, "gateway serve needs --stdio"],
    [["auth", "set-secret", "file:x"], 1, "the secret is empty"],
    [["auth", "set-secret", "env:X", "s"], 1, "env:X"],
    [["auth", "validate", "env:NO_SUCH_VARIABLE"], 1, "NO_SUCH_VARIABLE"],
    [["auth", "validate", "file:../../etc/passwd"], 1, "does not resolve"],
    [["list", "--daemon-url", "nonsense"], 78, "not an http or https URL"],
  ])("%j exits with %i", async (args, code, words) => {
    const ran = await ctl(args)
    expect(ran).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(words) })
    expect(ran.stderr.trim().split("\n").length).toBeLessThanOrEqual(2)
    expect(ran.stderr).not.toMatch(/\n\s+at |secret@/)
  })
})

describe("add-all", () => {
  it("adds what compiles, names what does not, and exits with 1", async () => {
    const dir = join(folder.path, "many")
    for (const file of ["a.clarity", "deep/b.clarity", "deep/a.clarity", "node_modules/x.clarity", "broken.clarity"]) {
      mkdirSync(join(dir, file, ".."), { recursive: true })
      writeFileSync(join(dir, file), file.startsWith("broken") ? "broken" : source)
    }
    const flat = await ctl(["add-all", "many", "--json"])
    expect([flat.code, jsonOf(flat.stdout)]).toMatchObject([1, { ok: false, rootDir: dir, scanned: 2, added: 1 }])
    expect(flat.stderr).toContain("error: Unexpected token\n --> ")
    const all = await ctl(["add-all", "many", "--recursive"])
    expect(all.code).toBe(1)
    expect(
      all.stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.replace(/ \(svc_.*/, "").replaceAll(dir, "")),
    ).toEqual([
      "added   /a.clarity as a",
      "failed  /broken.clarity: /broken.clarity does not compile",
      "added   /deep/a.clarity as deep_a",
      "added   /deep/b.clarity as b",
      "3 of 4 added",
    ])
    expect(readFileSync(join(folder.path, ".clarity/build/a.wasm")).equals(readFileSync(module))).toBe(true)
  })
})

describe("looking after services", () => {
  it("lists, stops, starts, restarts, removes by the beginning of a name", async () => {
    await removeAll()
    await ctl(["add", "--name", "alpha", "--", ...notes])
    await ctl(["add", "--name", "alphabet", "--lazy", "--isolation", "session", "--", ...notes])
    const listed = await ctl(["list"])
    expect(listed.stdout.split("\n").map((line) => line.split(/\s+/)[0])).toEqual(["NAME", "alphabet", "alpha", ""])
    expect(jsonOf((await ctl(["list", "--json"])).stdout).items.map(({ namespace }) => namespace)).toEqual([
      "alphabet",
      "alpha",
    ])
    const ambiguous = await ctl(["stop", "alph"])
    expect(ambiguous.code).toBe(1)
    expect(ambiguous.stderr).toMatch(
      /^clarityctl: alph could mean alphabet \(svc_\w+\), alpha \(svc_\w+\); give the id or more of the name\n$/,
    )
    expect(await ctl(["stop", "alpha"])).toMatchObject({ code: 0, stdout: expect.stringContaining("alpha: STOPPED") })
    expect(await ctl(["introspect", "alpha"])).toMatchObject({ code: 69 })
    expect(await ctl(["call", "alpha__list_notes"])).toMatchObject({
      code: 69,
      stderr: "service alpha is STOPPED: stopped by an operator\n",
    })
    expect(await ctl(["start", "ALPHA"])).toMatchObject({ code: 0, stdout: "alpha: RUNNING HEALTHY\n" })
    expect(await ctl(["restart", "alpha", "--json"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"lifecycle": "RUNNING"'),
    })
    expect(await ctl(["introspect", "alpha"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("alpha: unchanged (iface_"),
    })
    expect(await ctl(["unquarantine", "alpha"])).toMatchObject({ code: expect.any(Number) })
    const details = await ctl(["details", "alpha", "--log-limit", "1", "--event-limit", "1", "--call-limit", "1"])
    expect(details.stdout).toContain("add_note")
    expect(await ctl(["status", "--check"])).toMatchObject({ code: 0, stdout: expect.stringContaining("2 services") })
    expect(await ctl(["remove", "alphab"])).toMatchObject({ code: 0 })
    expect((await control.listServices({})).items.map(({ namespace }) => namespace)).toEqual(["alpha"])
  })

  it("status --check fails when one has crashed", async () => {
    await ctl(["add", "--name", "bad", "--", "no-such-program-anywhere"])
    const { code, stderr } = await ctl(["status", "--check"])
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^clarityctl: not well: bad \((?:CRASHED|QUARANTINED)\)\n$/),
    ])
    expect((await ctl(["status"])).code).toBe(0)
    await ctl(["remove", "bad"])
  })

  it("deletes a module on request, and only one it built", async () => {
    const outside = join(folder.path, "mine.wasm")
    writeFileSync(outside, readFileSync(module))
    await ctl(["add", "mine.wasm"])
    expect(await ctl(["remove", "mine", "--cleanup-artifacts"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("no module deleted"),
    })
    expect(existsSync(outside)).toBe(true)
  })

  it("calls a tool, prints its text, and exits with 1 when the tool fails", async () => {
    const added = await ctl(["call", "alpha__add_note", "--json", '{"title":"\\u001b[31m","text":"x"}'])
    expect(added).toMatchObject({ code: 0, stderr: "", stdout: 'kept "\\u{1b}[31m"; 2 notes in all\n' })
    expect((await ctl(["call", "alpha__list_notes", "--raw"])).stdout).toContain("\u001b[31m")
    expect(jsonOf((await ctl(["call", "list_notes", "--service", "alpha", "--output", "json"])).stdout)).toHaveProperty(
      "content",
    )
    expect(await ctl(["call", "alpha__add_note", "--json", "-"], { stdin: '{"title":"in","text":"y"}' })).toMatchObject(
      { code: 0 },
    )
    expect(await ctl(["call", "alpha__add_note"])).toMatchObject({ code: 1, stdout: "" })
    expect(await ctl(["call", "alpha__nope"])).toMatchObject({
      code: 1,
      stderr: "clarityctl: unknown tool: alpha__nope\n",
    })
  })

  it("follows a log until it is interrupted", async () => {
    const { items } = await control.listServices({ match: "alpha" })
    const child = spawn(process.execPath, [...ctlArguments, "logs", "alpha", "--follow", "--daemon-url", daemon.url])
    let text = ""
    const heard = (words: string) =>
      new Promise<void>((resolve) => {
        const look = (chunk?: Buffer) => {
          text += chunk?.toString() ?? ""
          if (text.includes(words)) resolve()
        }
        child.stdout.on("data", look)
        look()
      })
    await heard("running")
    await control.stopService({ id: items[0]?.serviceId ?? "" })
    await heard("stopped")
    const code = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGINT")
    expect(await code).toBe(0)
    expect((await ctl(["logs", "alpha", "--limit", "1"])).stdout.trimEnd().split("\n")).toHaveLength(1)
  })
})

describe("secrets", () => {
  it("sets one from standard input, lists it, checks it, deletes it", async () => {
    expect(await ctl(["auth", "set-secret", "file:gh"], { stdin: "canary\n" })).toMatchObject({
      code: 0,
      stdout: "file:gh written\n",
      stderr: "",
    })
    expect(await ctl(["auth", "set-secret", "file:gh", "canary"])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("history"),
    })
    const shown = [
      await ctl(["auth", "list-secrets"]),
      await ctl(["auth", "validate", "file:gh"]),
      await ctl(["auth", "providers"]),
    ]
    expect(shown.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(shown[0]?.stdout).toContain("file:gh")
    expect(shown.map(({ stdout, stderr }) => stdout + stderr).join()).not.toContain("canary")
    expect(await ctl(["auth", "delete-secret", "file:gh"])).toMatchObject({ code: 0 })
    expect(await ctl(["auth", "delete-secret", "file:gh"])).toMatchObject({
      code: 1,
      stderr: "clarityctl: there is no secret file:gh\n",
    })
  })
})

describe("a daemon that is not there, or does not know us", () => {
  it("is named, with the exit code of unavailability", async () => {
    const url = `http://127.0.0.1:${await freePort()}`
    expect(await ctl(["list"], { env: { CLARITYD_URL: url } })).toMatchObject({
      code: 69,
      stdout: "",
      stderr: `clarityctl: daemon not reachable at ${url} (start clarityd, or give the URL it listens on)\n`,
    })
  })

  it("takes the token from the flag, then one variable, then the other", async () => {
    const guarded = await testDaemon({ CLARITYD_AUTH_TOKEN: "the-right-token-7f3a9c21" })
    try {
      const right = "the-right-token-7f3a9c21"
      const env = { CLARITYD_URL: guarded.url }
      expect(await ctl(["list"], { env })).toMatchObject({ code: 77, stderr: expect.stringContaining("unauthorized") })
      expect(await ctl(["list"], { env: { ...env, CLARITY_API_TOKEN: right } })).toMatchObject({ code: 0 })
      expect(
        await ctl(["list"], { env: { ...env, CLARITY_API_TOKEN: "wrong", CLARITYD_AUTH_TOKEN: right } }),
      ).toMatchObject({ code: 0 })
      expect(
        await ctl(["list", "--auth-token", right], { env: { ...env, CLARITYD_AUTH_TOKEN: "wrong" } }),
      ).toMatchObject({ code: 0 })
      expect(await ctl(["doctor"], { env })).toMatchObject({
        code: 1,
        stdout: expect.stringContaining("CLARITYD_AUTH_TOKEN"),
      })
    } finally {
      await guarded[Symbol.asyncDispose]()
    }
  })
})

describe("doctor", () => {
  const checks = async (args: string[], env: Record<string, string> = {}) => {
    const { code, stdout } = await ctl(["doctor", "--json", ...args], { env })
    const { checks: found } = jsonOf(stdout) as unknown as { checks: { name: string; status: string; fix?: string }[] }
    const broken = found.filter(({ status }) => status === "fail")
    expect(broken.every(({ fix }) => fix !== undefined && fix !== "")).toBe(true)
    return [code, broken.map(({ name }) => name)]
  }

  it("is content, or names what is broken", async () => {
    writeFileSync(join(folder.path, "a-file"), "")
    expect(await checks([])).toEqual([0, []])
    expect(await checks(["--compiler-bin", "/no/clarityc"])).toEqual([1, ["compiler"]])
    expect(await checks(["--workspace", "a-file"])).toEqual([1, ["workspace"]])
    expect(await checks([], { CLARITYD_URL: `http://127.0.0.1:${await freePort()}` })).toEqual([1, ["daemon"]])
  })
})

it("works with plugins that lie in its data folder", async () => {
  const data = join(folder.path, "data", "clarityctl")
  const plugin = join(data, "node_modules", "clarityctl-hello")
  mkdirSync(join(plugin, "commands"), { recursive: true })
  writeFileSync(
    join(data, "package.json"),
    JSON.stringify({
      dependencies: { "clarityctl-hello": "1.0.0" },
      oclif: { schema: 1, plugins: [{ name: "clarityctl-hello", type: "user", tag: "1.0.0" }] },
    }),
  )
  writeFileSync(
    join(plugin, "package.json"),
    JSON.stringify({ name: "clarityctl-hello", version: "1.0.0", oclif: { commands: "./commands" } }),
  )
  writeFileSync(
    join(plugin, "commands", "hello.js"),
    'module.exports = { Hello: class { static async run() { process.stdout.write("hello from a plugin\\n") } } }\n',
  )
  expect(await ctl(["hello"], { env: { XDG_DATA_HOME: join(folder.path, "data") } })).toMatchObject({
    code: 0,
    stdout: "hello from a plugin\n",
  })
})
