import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import "./support/clean-up.ts"
import { ctl } from "./support/ctl.ts"
import { manifest, startDaemon, temporaryDirectory, type Daemon } from "./support/daemon.ts"
import { ask, callTool, post, type Message } from "./support/mcp.ts"
import { stage, stdioActor } from "./support/stage.ts"

const workspaces: string[] = []
afterAll(() => workspaces.forEach((workspace) => rmSync(workspace, { recursive: true, force: true })))
function fresh(files: Record<string, unknown> = {}): string {
  const workspace = temporaryDirectory()
  workspaces.push(workspace)
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(workspace, ".clarity", name), JSON.stringify(content))
  return workspace
}

const auditOf = (workspace: string) => join(workspace, ".clarity", "runtime", "audit")
const segmentsOf = (workspace: string) =>
  readdirSync(auditOf(workspace))
    .filter((name) => name.endsWith(".ndjson"))
    .toSorted()
/** What lies on the disk, not what the daemon says. */
function recordsOf(workspace: string): Message[] {
  const text = segmentsOf(workspace).map((name) => readFileSync(join(auditOf(workspace), name), "utf8"))
  return text
    .join("")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Message)
}
/** The status of a request with headers that `fetch` would not let through. */
function statusWith(daemon: Daemon, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(new URL("/mcp", daemon.url), { method: "POST", headers }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode ?? 0))
    })
    asked.once("error", reject).end()
  })
}

const token = "audited-token-of-an-operator"
const bearer = { authorization: `Bearer ${token}` }
const rules = {
  apiVersion: "clarity.policy/v1",
  rules: [
    { effect: "deny", services: ["notes"], tools: ["fails"] },
    { effect: "deny", services: ["notes"], tools: ["pid"], listed: true },
    { effect: "ask", services: ["notes"], tools: ["big"] },
  ],
}

describe("every decision is one record on the disk", () => {
  it("calls, denials, questions, refusals and changes, with who, what and which rules, and no value", async () => {
    const workspace = fresh({ "policy.json": rules })
    const daemon = await startDaemon({
      workspace,
      token,
      env: { CLARITYD_AUTH_TOKEN: token, CLARITY_ENABLE_MCP_PROVISIONING: "1" },
    })
    const service = await daemon.register(manifest("notes", stdioActor(stage(workspace, "notes"))))
    const call = (name: string, args: object) =>
      ask(
        daemon.url,
        "modern",
        "tools/call",
        { name, arguments: args },
        {
          headers: bearer,
          meta: { "io.modelcontextprotocol/clientInfo": { name: "desk", version: "1.2" } },
        },
      )
    await call("notes__echo", { text: "PRIVATE-VALUE", deep: { secret: "PRIVATE-VALUE" } })
    await call("notes__fails", { why: "PRIVATE-VALUE" })
    await call("notes__pid", {})
    await call("notes__big", { bytes: 10 })
    await call("notes__no_such", {})
    expect(await statusWith(daemon, { host: "evil.example", ...bearer })).toBe(403)
    expect((await post(`${daemon.url}/mcp`, "{}", { headers: { authorization: "Bearer wrong" } })).status).toBe(401)
    expect((await post(`${daemon.url}/mcp`, "{", { headers: bearer })).status).toBe(400)
    await daemon.client.setAuthSecret({ authRef: "file:a_secret", secret: "PRIVATE-VALUE" })
    writeFileSync(join(workspace, ".clarity", "clarityd.json"), "{ wrong")
    await expect(daemon.client.reloadConfiguration({})).rejects.toThrow("not reloaded")
    await daemon.stop()

    const records = recordsOf(workspace)
    expect(JSON.stringify(records)).not.toContain("PRIVATE-VALUE")
    const of = (test: (record: Message) => boolean) => records.filter(test).map(({ data }) => data)
    const [allowed, ...again] = of(({ data }) => data?.tool === "echo")
    expect(again).toEqual([])
    expect(allowed).toEqual({
      requestId: expect.stringMatching(/^req_/),
      method: "tools/call",
      tool: "echo",
      decision: "allow",
      outcome: "ok",
      durationMs: expect.any(Number),
      principal: "token:default",
      client: "desk/1.2",
      era: "modern",
      bytes: expect.any(Number),
      depth: 0,
      schema: expect.stringMatching(/^[0-9a-f]{12}$/),
      policy: expect.stringMatching(/^[0-9a-f]{12}$/),
      arguments: [
        { name: "text", type: "string", bytes: 13 },
        { name: "deep", type: "object", items: 1 },
      ],
    })
    expect(of(({ data }) => data?.target === "notes__fails")).toMatchObject([
      { decision: "deny", code: "invalid_params", reason: "hidden from this caller" },
    ])
    expect(of(({ data }) => data?.tool === "pid")).toMatchObject([{ decision: "deny", code: "policy_denied" }])
    expect(of(({ data }) => data?.tool === "big")).toMatchObject([{ decision: expect.stringMatching(/ask|deny/) }])
    expect(of(({ data }) => data?.target === "notes__no_such")).toMatchObject([
      { decision: "deny", code: "invalid_params" },
    ])
    for (const code of ["forbidden", "unauthorized", "parse_error"])
      expect(
        of(({ kind, data }) => kind === "edge.refused" && data.code === code),
        code,
      ).toMatchObject([{ decision: "deny", peer: "127.0.0.1" }])
    expect(of(({ kind }) => kind === "auth.secret_set")).toMatchObject([{ authRef: "file:a_secret" }])
    expect(of(({ kind }) => kind === "config.refused")).toHaveLength(1)
    expect(
      records.filter(({ kind, serviceId }) => kind === "control.apply" && serviceId === service.serviceId),
    ).toHaveLength(1)
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, i) => i + 1))
  })
})

describe("clarityctl audit", () => {
  it("shows what happened, over a restart too, and finds what was edited while nobody looked", async () => {
    const workspace = fresh()
    let daemon = await startDaemon({ workspace })
    await daemon.register(manifest("notes", stdioActor(stage(workspace, "notes"))))
    await callTool(daemon.url, "notes__echo", { text: "x" })
    const good = await ctl(daemon, ["audit", "verify"])
    expect(good).toMatchObject({ code: 0, stderr: "" })
    const [, head = ""] = /^head (\d+:[0-9a-f]{64})$/m.exec(good.stdout) ?? []
    await daemon.stop("SIGKILL")

    daemon = await startDaemon({ workspace })
    const { stdout } = await ctl(daemon, ["audit", "--service", "notes", "--kind", "mcp.", "--limit", "5"])
    expect(stdout).toMatch(/^\S+Z info  mcp\.tool_called  local  tools\/call echo: ok\n$/)
    expect(await ctl(daemon, ["audit", "verify", "--expect", head])).toMatchObject({ code: 0 })
    await daemon.stop()

    const [name = ""] = segmentsOf(workspace)
    const file = join(auditOf(workspace), name)
    writeFileSync(file, readFileSync(file, "utf8").replace("tools/call echo: ok", "tools/call fine: ok"))
    daemon = await startDaemon({ workspace })
    const bad = await ctl(daemon, ["audit", "verify"])
    expect(bad.code).toBe(1)
    expect(bad.stdout).toMatch(/problem: audit-00000001\.ndjson:\d+ record \d+ is not as it was written/)
    expect(bad.stderr).toBe("clarityctl: the audit is not as it was written (1 problem)\n")
    await daemon.stop()
  })
})

describe("what lies on the disk", () => {
  it("SEC-09: is its owner's alone, whatever the umask", async () => {
    const workspace = fresh()
    const before = process.umask(0)
    const daemon = await startDaemon({ workspace }).finally(() => process.umask(before))
    await daemon.register(manifest("notes", stdioActor(stage(workspace, "notes"))))
    await daemon.stop()
    const state = join(workspace, ".clarity", "runtime")
    const open = readdirSync(state, { recursive: true, encoding: "utf8" })
      .map((name) => join(state, name))
      .filter((path) => (statSync(path).mode & 0o077) !== 0)
    expect(open).toEqual([])
    expect(statSync(state).mode & 0o777).toBe(0o700)
  })

  it("nothing, where the audit is switched off; the newest is still told", async () => {
    const workspace = fresh({ "clarityd.json": { audit: { enabled: false } } })
    const daemon = await startDaemon({ workspace })
    await daemon.register(manifest("notes", stdioActor(stage(workspace, "notes"))))
    await expect(daemon.client.verifyAudit({})).rejects.toThrow("keeps no durable audit")
    expect((await daemon.client.getAudit({})).items.length).toBeGreaterThan(0)
    await daemon.stop()
    expect(() => segmentsOf(workspace)).toThrow("ENOENT")
  })

  it("a full or broken place for the audit stops neither the start nor a call, and is told", async () => {
    const workspace = fresh()
    mkdirSync(join(workspace, ".clarity", "runtime"))
    writeFileSync(auditOf(workspace), "in the way")
    const daemon = await startDaemon({ workspace })
    await daemon.register(manifest("notes", stdioActor(stage(workspace, "notes"))))
    await callTool(daemon.url, "notes__echo", { text: "x" })
    await expect
      .poll(async () => (await daemon.client.status({})).notices.join())
      .toContain("The audit is not written, calls go on")
    rmSync(auditOf(workspace))
    await expect.poll(async () => (await daemon.client.status({})).notices.join(), { timeout: 5000 }).toBe("")
    expect(await daemon.client.verifyAudit({})).toMatchObject({ ok: true, unrecorded: 0 })
    await daemon.stop()
    expect(recordsOf(workspace).map(({ kind }) => kind)).toContain("mcp.tool_called")
  })
})
