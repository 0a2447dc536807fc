import { execFileSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { chmod, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fakeTelemetry } from "@clarity-runtime/testkit"
import { afterEach, describe, expect, it } from "vitest"
import { call, ci, local, never, notes, permitOf, questionOf, refusalOf, rules } from "../test/cases.ts"
import { standardPolicy } from "./policy.ts"
import { rulesFile, type RulesFileSource } from "./rules-file.ts"

const opened: AsyncDisposable[] = []
const folders: string[] = []
afterEach(async () => {
  for (const thing of opened.splice(0)) await thing[Symbol.asyncDispose]()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

async function workspace() {
  const folder = await mkdtemp(join(tmpdir(), "rules-"))
  folders.push(folder)
  const path = join(folder, "policy.json")
  const telemetry = fakeTelemetry()
  const open = async (over: object = {}): Promise<RulesFileSource> => {
    const source = await rulesFile({ path, shown: "policy.json", stateDir: join(folder, "state"), telemetry, ...over })
    opened.push(source)
    return source
  }
  const restart = async (source: RulesFileSource, over: object = {}) => {
    await opened.splice(opened.indexOf(source), 1)[0]?.[Symbol.asyncDispose]()
    return open(over)
  }
  const write = (value: unknown) => writeFile(path, typeof value === "string" ? value : JSON.stringify(value))
  return { folder, path, telemetry, open, restart, write, kinds: () => telemetry.events.map(({ kind }) => kind) }
}

/** Resolves at the source's next change. */
const changeOf = (source: RulesFileSource) => new Promise<void>((resolve) => source.subscribe(resolve))
const denying = (tool: string) => rules({ effect: "deny", tools: [tool] })
const allows = (source: RulesFileSource, tool = "search") =>
  standardPolicy({ rules: source }).visible(ci, notes(), "tool", tool)

describe("a rules file that is not there", () => {
  it("means the defaults where there never was one", async () => {
    const { open, kinds } = await workspace()
    const source = await open()
    expect(source.current).toMatchObject({ closed: false, file: "policy.json" })
    expect(source.current.problem).toBeUndefined()
    expect(allows(source)).toBe(true)
    expect(kinds()).toEqual([])
  })

  it("closes everything where the operator named it", async () => {
    const { open } = await workspace()
    const source = await open({ required: true })
    expect(source.current).toMatchObject({ closed: true, problem: "policy.json is not there" })
    expect(allows(source)).toBe(false)
  })

  it("leaves its last rules in force when it goes, at a restart too, until somebody asks for a reload", async () => {
    const { open, restart, write, path } = await workspace()
    await write(denying("search"))
    let source = await open()
    const changed = changeOf(source)
    await rm(path)
    await changed
    expect(source.current).toMatchObject({ closed: false, problem: expect.stringContaining("policy.json is gone") })
    expect(allows(source)).toBe(false)
    source = await restart(source)
    expect(source.current.problem).toContain("policy.json is gone")
    expect(allows(source)).toBe(false)
    await source.reload()
    expect(source.current.problem).toBeUndefined()
    expect(allows(source)).toBe(true)
    source = await restart(source)
    expect(allows(source)).toBe(true)
  })
})

describe("a rules file that is wrong", () => {
  const wrong: [string, string | Buffer, string][] = [
    ["is empty", "", "not valid JSON"],
    ["is half written", '{"apiVersion":"clarity.policy/v1","rules":[', "not valid JSON"],
    ["is of the wrong type", "[]", "policy.json: $"],
    ["has an unknown key", '{"apiVersion":"clarity.policy/v1","deny":[]}', "$.deny is not a known key"],
    ["has a key twice", '{"apiVersion":"clarity.policy/v1","rules":[],"rules":[]}', "the key 'rules' twice"],
    ["is not UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), "cannot be read"],
    ["is huge", " ".repeat(1_048_577), "larger than"],
  ]

  it.each(wrong)("and %s: everything is refused where there never was a good one", async (_what, content, why) => {
    const { open, path, telemetry } = await workspace()
    await writeFile(path, content)
    const source = await open()
    expect(source.current).toMatchObject({ closed: true, problem: expect.stringContaining(why) })
    const policy = standardPolicy({ rules: source })
    expect(refusalOf(policy.admit(call({ principal: local }), never())).code).toBe("invalid_params")
    expect(policy.visible(local, notes(), "prompt", "greet")).toBe(false)
    expect(policy.status()).toMatchObject({ closed: true, rules: 0, problem: expect.stringContaining(why) })
    const own = notes(["status_summary", "remove_service"], { id: "runtime", namespace: "runtime" })
    permitOf(policy.admit(call({ service: own, target: "status_summary", principal: local }), never()))
    expect(policy.visible(local, own, "tool", "remove_service")).toBe(false)
    expect(telemetry.events).toMatchObject([
      { kind: "policy.rules_refused", level: "error", message: expect.stringContaining("everything is refused") },
    ])
  })

  it.each(wrong)("and %s: the last good one stays in force, at a restart too", async (_what, content, why) => {
    const { open, restart, path, write } = await workspace()
    await write(denying("search"))
    let source = await open()
    const { version } = source.current.rules
    await writeFile(path, content)
    await source.reload()
    for (let round = 0; round < 2; round++) {
      expect(source.current).toMatchObject({ closed: false, problem: expect.stringContaining(why) })
      expect(source.current.rules.version).toBe(version)
      expect([allows(source), allows(source, "delete_note")]).toEqual([false, true])
      source = await restart(source)
    }
  })

  it("is good again as soon as it is repaired", async () => {
    const { open, write, kinds } = await workspace()
    await write("{")
    const source = await open()
    const changed = changeOf(source)
    await write(denying("delete_note"))
    await changed
    expect(source.current).toMatchObject({ closed: false })
    expect(source.current.problem).toBeUndefined()
    expect(allows(source)).toBe(true)
    expect(kinds()).toEqual(["policy.rules_refused", "policy.rules_loaded"])
  })

  it.each([
    ["a folder", (path: string) => mkdir(path)],
    ["a pipe nobody writes to", async (path: string) => void execFileSync("mkfifo", [path])],
  ])("may be %s", async (_what, make) => {
    const { open, path } = await workspace()
    await make(path)
    const source = await open()
    expect(source.current).toMatchObject({ closed: true, problem: "policy.json is not a file" })
  })

  it("is never read past what cannot be read of the last good one", async () => {
    const { folder, open, path, restart, write } = await workspace()
    await write(denying("search"))
    const source = await open()
    await rm(path)
    const kept = join(folder, "state", "policy-last-good.json")
    for (const copy of [kept, `${kept}.prev`]) await writeFile(copy, "rubbish")
    await expect(restart(source)).rejects.toMatchObject({ code: "storage_error" })
    expect(await readFile(kept, "utf8")).toBe("rubbish")
  })
})

describe("a rules file that changes", () => {
  it.each([
    ["is written again", async (path: string, text: string) => writeFile(path, text)],
    [
      "is replaced",
      async (path: string, text: string) => {
        await writeFile(`${path}.new`, text)
        await rename(`${path}.new`, path)
      },
    ],
  ])("and %s is in force, and told", async (_how, replace) => {
    const { open, path, write } = await workspace()
    await write(denying("other"))
    const source = await open()
    const policy = standardPolicy({ rules: source })
    const service = notes()
    expect(policy.visible(ci, service, "tool", "search")).toBe(true)
    const stop = new AbortController()
    const news = policy.changes(stop.signal)[Symbol.asyncIterator]().next()
    await replace(path, JSON.stringify(denying("search")))
    await news
    stop.abort()
    expect(policy.visible(ci, service, "tool", "search")).toBe(false)
  })

  it("behind a symbolic link is seen as well", async () => {
    const { folder, open, path } = await workspace()
    await mkdir(join(folder, "else"))
    const target = join(folder, "else", "real.json")
    await writeFile(target, JSON.stringify(denying("other")))
    await symlink(target, path)
    const source = await open()
    const changed = changeOf(source)
    await writeFile(target, JSON.stringify(denying("search")))
    await changed
    expect(allows(source)).toBe(false)
  })

  it("in its layout alone has not changed: grants are good, nothing is told", async () => {
    const { open, kinds, write } = await workspace()
    const file = rules({ effect: "ask", tools: ["search"], name: "a" })
    await write(file)
    const source = await open()
    const policy = standardPolicy({ rules: source })
    const { id } = questionOf(policy.admit(call(), never()))
    const before = source.current.rules
    await write(JSON.stringify({ $schema: "x", ...Object.fromEntries(Object.entries(file).reverse()) }, null, 4))
    await source.reload()
    expect(source.current.rules).toBe(before)
    policy.decide(id, true, local)
    permitOf(policy.admit(call(), never()))
    expect(kinds()).toEqual(["policy.rules_loaded"])
  })

  it("many times at once ends with what was written last", async () => {
    const { open, write } = await workspace()
    await write(denying("none"))
    const source = await open()
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        if (n === 40) await write("{")
        await source.reload()
      }),
    )
    await write(denying("search"))
    await source.reload()
    expect(source.current.problem).toBeUndefined()
    expect(allows(source)).toBe(false)
  })

  it("is in force even where the last good one cannot be kept, which is told", async () => {
    const { folder, open, write, kinds } = await workspace()
    await write(denying("other"))
    const source = await open()
    await rm(join(folder, "state"), { recursive: true })
    await writeFile(join(folder, "state"), "no folder")
    await write(denying("search"))
    await source.reload()
    expect(allows(source)).toBe(false)
    expect(kinds()).toContain("policy.rules_not_kept")
  })
})

it("is named as the operator named it, never by its place", async () => {
  const { folder, open, path, telemetry, write } = await workspace()
  await write("{")
  await chmod(path, 0o600)
  const source = await open()
  const said = JSON.stringify([source.current.problem, telemetry.events])
  expect(said).toContain("policy.json")
  expect(said).not.toContain(folder)
})

describe("a rules file that changes while the daemon starts", () => {
  it("is read again", async () => {
    const { open, path, write } = await workspace()
    await write(denying("search"))
    let changes = 0
    const telemetry = {
      record: () => {
        if (changes++ === 0) writeFileSync(path, JSON.stringify(denying("other")))
      },
      logOf: () => ({ write: () => {} }),
    }
    const source = await open({ telemetry })
    if (!allows(source)) await changeOf(source)
    expect(allows(source)).toBe(true)
  })
})
