import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createControlClient } from "@clarity-runtime/control/client"
import { afterAll, beforeAll, expect, it } from "vitest"
import { ctl as run, inRoot, testDaemon, type TestDaemon } from "../test/processes.ts"

let daemon: TestDaemon
const notes = [process.execPath, inRoot("examples/notes-stdio/server.js")]
const ctl = (...args: string[]) => run(args, { cwd: daemon.workspace, env: { CLARITYD_URL: daemon.url } })
const write = (name: string, value: unknown) =>
  writeFileSync(join(daemon.workspace, name), typeof value === "string" ? value : JSON.stringify(value))
const rules = [
  { name: "careful", effect: "ask", services: ["notes"], annotations: { readOnly: false }, reason: "notes are shared" },
  { name: "ci reads", effect: "deny", principals: ["token:ci"], tools: ["add_*"] },
]

beforeAll(async () => {
  daemon = await testDaemon()
  mkdirSync(join(daemon.workspace, ".clarity"), { recursive: true })
  write(".clarity/policy.json", { apiVersion: "clarity.policy/v1", rules, pin: ["notes"] })
  await ctl("policy", "reload")
  await ctl("add", "--name", "notes", "--", ...notes)
}, 60_000)
afterAll(() => daemon[Symbol.asyncDispose]())

it("why says what is decided, and every step", async () => {
  const { stdout, code } = await ctl("why", "notes__add_note", "--as", "token:ci")
  expect(code).toBe(0)
  expect(stdout).toMatch(/^denied: token:ci, add_note of notes, and it looks like something that does not exist\n/)
  for (const step of ["token:ci is not known here", "ask rule 'careful' matches", "deny rule 'ci reads' matches"])
    expect(stdout).toContain(`  ${step}`)
  const own = await ctl("why", "notes__add_note", "--json")
  expect(JSON.parse(own.stdout)).toMatchObject({ effect: "ask", rule: "careful", principal: "local" })
  expect(await ctl("why", "notes__list_notes")).toMatchObject({ stdout: expect.stringMatching(/^allowed: local/) })
  expect(await ctl("why", "none__x")).toMatchObject({ code: 1, stderr: "clarityctl: service not found: none\n" })
  expect(await ctl("why")).toMatchObject({ code: 1, stderr: expect.stringContaining("give one of tool") })
})

it("policy test fails where a decision is another one", async () => {
  const ci = { principal: { id: "token:ci" }, service: "notes", tool: "add_note" }
  write("good.json", { cases: [{ ...ci, expect: "deny", rule: "ci reads" }] })
  write("bad.json", { cases: [{ ...ci, expect: "allow" }] })
  write("next.json", { apiVersion: "clarity.policy/v1" })
  expect(await ctl("policy", "test", "good.json")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("ok    token:ci notes/add_note\n1 case passed, 0 failed"),
  })
  expect(await ctl("policy", "test", "bad.json")).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("FAIL  token:ci notes/add_note: expected allow, got deny"),
  })
  expect(await ctl("policy", "test", "bad.json", "--rules", "next.json")).toMatchObject({ code: 0 })
  write("odd.json", [])
  expect(await ctl("policy", "test", "odd.json")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("must hold a JSON object"),
  })
})

it("an approval is listed, given and used once", async () => {
  const call = () => ctl("call", "notes__add_note", "--json", '{"title":"a","text":"b"}')
  const asked = await call()
  expect(asked.code).toBe(77)
  const id = /approvals approve (\S+)\)/.exec(asked.stderr)?.[1] ?? ""
  const listed = await ctl("approvals", "list")
  expect(listed.stdout).toMatch(new RegExp(`${id}  waiting  local   notes/add_note  careful  \\d+ min`))
  expect(await ctl("approvals", "approve", id)).toMatchObject({
    code: 0,
    stdout: "approved: local may call notes/add_note once, with the same arguments\n",
  })
  expect(await call()).toMatchObject({ code: 0, stdout: expect.stringContaining("kept") })
  const next = /approvals approve (\S+)\)/.exec((await call()).stderr)?.[1] ?? ""
  expect(await ctl("approvals", "deny", next)).toMatchObject({
    code: 0,
    stdout: "denied: local may not call notes/add_note with these arguments until the question expires\n",
  })
  expect(await call()).toMatchObject({ code: 77, stderr: expect.stringContaining("a person refused this call") })
  expect(await ctl("approvals", "approve", "ap_none")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("no approval 'ap_none'"),
  })
})

it("drift is shown, and approved as it was shown", async () => {
  expect(await ctl("drift", "notes")).toMatchObject({
    code: 0,
    stdout: "The tools of notes are as they were approved.\n",
  })
  expect(await ctl("approve-tools", "notes", "add_note")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("1 tool of notes approved"),
  })
  expect(await ctl("approve-tools", "notes", "zzz")).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("notes has no tool 'zzz'"),
  })
})

it("a file that is not in force is a finding", async () => {
  write(".clarity/policy.json", "{")
  const { code, stdout, stderr } = await ctl("policy", "reload")
  expect([code, stderr]).toEqual([1, "clarityctl: the rules file as it is now is not in force\n"])
  expect(stdout).toMatch(
    /^rules [0-9a-f]{12} of \.clarity\/policy\.json: 2 rules\nproblem: .* is not valid JSON( \(line \d+, column \d+\))?\n$/,
  )
  const { closed } = await createControlClient({ url: daemon.url }).policyStatus({})
  expect(closed).toBe(false)
})
