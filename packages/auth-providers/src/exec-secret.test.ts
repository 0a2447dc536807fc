import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { ClarityError } from "@clarity-runtime/contracts"
import { manualClock } from "@clarity-runtime/testkit"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { createCredentials, type CredentialsOptions } from "./credentials.ts"

const canary = "canary-51c0"
const target = { serviceId: "svc_a", origin: "https://a.example" }
let dir: string
let program: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "exec-"))
  program = join(dir, "vault")
  // Counts its runs in a file and does as it is told.
  writeFileSync(
    program,
    `#!${process.execPath}
const { appendFileSync } = require("node:fs")
appendFileSync(__dirname + "/runs", process.argv[2] + "\\n")
const how = process.argv[2]
if (how === "print") process.stdout.write(process.argv[3] + "\\n")
if (how === "env") process.stdout.write(Object.keys(process.env).sort().join(","))
if (how === "large") process.stdout.write("x".repeat(70000))
if (how === "binary") process.stdout.write(Buffer.from([0xff, 0xfe]))
if (how === "fail") { process.stdout.write("${canary}"); process.stderr.write("${canary}"); process.exitCode = 3 }
if (how === "lines") process.stdout.write("a\\nb\\n")
`,
  )
  chmodSync(program, 0o755)
  writeFileSync(join(dir, "runs"), "")
})
afterEach(() => rmSync(dir, { recursive: true }))

const clock = manualClock()
const store = (more: Partial<CredentialsOptions> = {}) =>
  createCredentials({
    environment: {
      PATH: process.env["PATH"],
      HOME: dir,
      SECRET: canary,
      CLARITYD_AUTH_TOKEN: canary,
      NODE_OPTIONS: "--x",
    },
    fileRoot: dir,
    exec: [program],
    clock,
    ...more,
  })
const ref = (...words: string[]) => `exec:${JSON.stringify([program, ...words])}`
const runs = () => readFileSync(join(dir, "runs"), "utf8").trim().split("\n").filter(Boolean).length
const failure = async (work: Promise<unknown>): Promise<ClarityError> =>
  work.then(
    () => Promise.reject(new Error("did not fail")),
    (error: unknown) => error as ClarityError,
  )

describe("what is refused without running anything", () => {
  test.each([
    ["no program is allowed", () => store({ exec: [] }), undefined],
    ["another spelling of an allowed one", () => store({ exec: ["vault"] }), undefined],
    ["a path that only ends alike", () => store({ exec: ["/bin/vault"] }), undefined],
  ])("%s", async (_name, make) => {
    const error = await failure(make().headers(ref("print", canary), target))
    expect(error).toMatchObject({ code: "upstream_unauthorized" })
    expect(error.message).toContain("credentials.exec")
    expect(runs()).toBe(0)
  })

  test.each([
    "exec:",
    "exec:op read x",
    "exec:[]",
    'exec:[""]',
    'exec:["op",1]',
    'exec:"op"',
    'exec:["op\\u0000"]',
    "exec:{}",
  ])("%s", async (authRef) => {
    const error = await failure(store().headers(authRef, target))
    expect(error.message).toContain('must be exec:["program"')
    expect(runs()).toBe(0)
  })

  test("nothing is a shell's: words arrive as they are", async () => {
    const words = "$(touch x); `id` && echo '\"*"
    expect(await store().secret(ref("print", words), { serviceId: "svc_a" })).toBe(words)
  })
})

describe("what a program prints", () => {
  test("is the secret, less one line break", async () => {
    expect(await store().headers(ref("print", canary), target)).toEqual({ authorization: `Bearer ${canary}` })
    expect(await store().secret(ref("lines"), { serviceId: "svc_a" })).toBe("a\nb")
  })

  test("comes of an environment of the few usual variables", async () => {
    expect(await store().secret(ref("env"), { serviceId: "svc_a" })).toBe("HOME,PATH")
  })

  test.each([
    ["large", /printed more than 65536 bytes/],
    ["binary", /not UTF-8/],
    ["nothing", /printed nothing/],
    ["fail", /ended with exit code 3/],
    ["lines", /contains a line break/],
  ])("is refused and not shown: %s", async (how, message) => {
    const error = await failure(store().headers(ref(how), target))
    expect(error.message).toMatch(message)
    expect(JSON.stringify([error.message, error.data])).not.toContain(canary)
  })

  test("a program that is not there is named", async () => {
    const credentials = store({ exec: ["no-such-program-here"] })
    expect((await failure(credentials.headers('exec:["no-such-program-here"]', target))).message).toContain("ENOENT")
  })

  test("is kept for a minute, asked for once by many, and anew when it was refused", async () => {
    const credentials = store()
    const ask = (refused?: object) => credentials.headers(ref("print", canary), target, refused)
    await Promise.all(Array.from({ length: 20 }, () => ask()))
    expect(runs()).toBe(1)
    await ask({})
    expect(runs()).toBe(1)
    await clock.advance(11_000)
    await Promise.all([ask({}), ask({}), ask({})])
    expect(runs()).toBe(2)
    await clock.advance(61_000)
    await ask()
    expect(runs()).toBe(3)
  })
})

test("validate tells whether it may run, and does not run it", async () => {
  expect(await store().validate(ref("print", canary))).toMatchObject({
    provider: "exec",
    source: "program",
    valid: true,
    issues: ["not run"],
    headerKeys: ["authorization"],
  })
  expect(await store({ exec: [] }).validate(ref("print", canary))).toMatchObject({ valid: false })
  expect(runs()).toBe(0)
  expect((await store().providers()).providers.filter(({ supported }) => supported).map(({ name }) => name)).toEqual([
    "legacy_env",
    "env",
    "file",
    "header_env",
    "exec",
  ])
})

describe("files and variables", () => {
  test("a file is read once a second, and after set or delete at once", async () => {
    const credentials = store()
    await credentials.set("file:key", "one")
    const ask = (refused?: object) => credentials.headers("file:key", target, refused)
    const first = await ask()
    writeFileSync(join(dir, "key"), "two")
    expect(await ask()).toBe(first)
    await clock.advance(1001)
    expect(await ask()).toEqual({ authorization: "Bearer two" })
    writeFileSync(join(dir, "key"), "three")
    expect(await ask({})).toEqual({ authorization: "Bearer three" })
    await credentials.set("file:key", "four")
    expect(await ask()).toEqual({ authorization: "Bearer four" })
    await credentials.delete("file:key")
    expect((await failure(ask())).code).toBe("upstream_unauthorized")
  })

  test("what has not changed is the same object", async () => {
    const credentials = store({ environment: { KEY: "one" } })
    expect(await credentials.headers("env:KEY", target)).toBe(await credentials.headers("env:KEY", target))
  })
})
