import { mkdirSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { ctl } from "../../../test/e2e/support/ctl.ts"
import { launchDaemon, manifest, remote, startDaemon, type Daemon } from "../../../test/e2e/support/daemon.ts"
import { ask, post, send, type Message } from "../../../test/e2e/support/mcp.ts"
import type { Case, Trial } from "../finding.ts"
import { serveRecorder, type Recorder } from "../recorder.ts"
import type { Stand } from "../stand.ts"

const file = (rules: unknown, more: object = {}) => ({ apiVersion: "clarity.policy/v1", rules, ...more })
const denied = file([{ effect: "deny", services: ["canary"], tools: ["danger"], reason: "HIDDEN-reason" }])

interface Ruled {
  readonly daemon: Daemon
  readonly recorder: Recorder
  /** Puts that in place of the rules, without waiting for anything. */
  put(rules: unknown): void
  /** Puts it and resolves when it is in force, or known to be wrong. */
  inForce(rules: unknown): Promise<Message>
}

/** A daemon of the case's own under these rules, with the service `canary`. */
async function ruled(stand: Stand, rules?: unknown): Promise<Ruled> {
  const workspace = stand.folder()
  mkdirSync(join(workspace, ".clarity"), { recursive: true })
  const path = join(workspace, ".clarity", "policy.json")
  const put = (given: unknown) => {
    writeFileSync(`${path}.new`, typeof given === "string" || Buffer.isBuffer(given) ? given : JSON.stringify(given))
    renameSync(`${path}.new`, path)
  }
  if (rules !== undefined) put(rules)
  const recorder = stand.own(await serveRecorder())
  const daemon = await stand.fresh({ workspace, env: { CLARITY_ENABLE_MCP_PROVISIONING: "1" } })
  await daemon.register(manifest("canary", remote(recorder.url), { era: "legacy" }))
  const inForce = async (given: unknown) => {
    put(given)
    return (await daemon.client.reloadPolicy({})) as unknown as Message
  }
  return { daemon, recorder, put, inForce }
}

const encoded = (name: string): Record<string, string> =>
  /^[\x20-\x7e]*$/.test(name) && name.trim() === name
    ? {}
    : { "mcp-name": `=?base64?${Buffer.from(name).toString("base64")}?=` }

const spellings = [
  "canary__danger",
  "canary__Danger",
  "canary__DANGER",
  "Canary__danger",
  "CANARY__DANGER",
  "canary__dange\u0072",
  "canary__d\u0430nger",
  "canary__ｄａｎｇｅｒ",
  "canary__danger\u200b",
  "\u200bcanary__danger",
  "canary__danger ",
  " canary__danger",
  "canary__danger\u0000",
  "canary__danger\n",
  "canary__danger.",
  "canary__danger/",
  "canary__danger/../danger",
  "canary__echo/../danger",
  "canary__danger%00",
  "canary__%64anger",
  "canary_danger",
  "canary___danger",
  "canary____danger",
  "canary.danger",
  "canary/danger",
  "canary:danger",
  "danger",
  "canary__canary__danger",
  "canary__danger?x",
  "canary__danger#x",
  "canary__da\u00adnger",
  "canary__dang\u0435r",
  "canary__\u0064anger",
]

/** What each way of calling the denied tool came to; all must be a no, and nothing may reach the service. */
async function everyWay({ same, holds }: Trial, { daemon, recorder }: Ruled): Promise<void> {
  const before = recorder.calls
  const no = (answer: Message) =>
    answer["error"]?.code === -32602 || answer["error"]?.code === -32020 || answer["error"]?.code === -32600
  for (const name of spellings)
    for (const [era, path] of [
      ["modern", ""],
      ["legacy", ""],
      ["modern", "/canary"],
      ["legacy", "/canary"],
    ] as const) {
      const answer = await ask(
        daemon.url,
        era,
        "tools/call",
        { name, arguments: {} },
        { path, headers: era === "modern" ? encoded(name) : {} },
      )
      holds(
        `${era} /mcp${path} ${JSON.stringify(name)}`,
        "unknown tool",
        no(answer) && !JSON.stringify(answer).includes("HIDDEN-"),
        answer,
      )
    }
  const spoofed = await ask(
    daemon.url,
    "modern",
    "tools/call",
    { name: "canary__danger", arguments: {} },
    { headers: { "mcp-name": "canary__echo" } },
  )
  same("a safe Mcp-Name", -32020, spoofed["error"]?.code)
  const batch = await post(
    `${daemon.url}/mcp`,
    JSON.stringify([
      { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "canary__danger", arguments: {} } },
    ]),
    { headers: { "mcp-protocol-version": "2025-03-26" } },
  )
  holds("in a batch of 2025-03-26", "unknown tool", (await batch.text()).includes("-32602"))
  for (const body of [
    { tool: "canary__danger" },
    { tool: "danger", namespace: "canary" },
    { tool: "DANGER", namespace: "canary" },
  ]) {
    const answer = await (await post(`${daemon.url}/api/call`, JSON.stringify(body))).text()
    holds(
      `POST /api/call ${JSON.stringify(body)}`,
      "unknown tool",
      answer.includes("unknown tool") && !answer.includes("HIDDEN-"),
      answer,
    )
  }
  const called = await ctl(daemon, ["call", "canary__danger"])
  holds("clarityctl call", "fails", called.code !== 0, called)
  for (const path of ["", "/canary"]) {
    const { result } = await ask(daemon.url, "modern", "tools/list", {}, { path })
    same(`in the list of /mcp${path}`, false, JSON.stringify(result).includes("danger"))
  }
  same(
    "on the status page, as something to call",
    false,
    /<form|<button/.test(await (await fetch(`${daemon.url}/status`)).text()),
  )
  same("calls that reached the service", 0, recorder.calls - before)
  const unknown = await ask(daemon.url, "modern", "tools/call", { name: "canary__zzzzzz", arguments: {} })
  const hidden = await ask(daemon.url, "modern", "tools/call", { name: "canary__danger", arguments: {} })
  same(
    "hidden and unknown",
    JSON.stringify(unknown).replaceAll("zzzzzz", "X"),
    JSON.stringify(hidden).replaceAll("danger", "X"),
  )
}

const wrongFiles: Readonly<Record<string, unknown>> = {
  "cut in the middle": JSON.stringify(denied).slice(0, 60),
  empty: "",
  null: "null",
  "a list": "[]",
  "a text": '"allow"',
  "no JSON": "rules: allow",
  "an unknown key": file([{ effect: "deny", tool: "danger" }]),
  "an unknown key at the top": file([], { defualt: "deny" }),
  "an unknown effect": file([{ effect: "permit" }]),
  "another version": { apiVersion: "clarity.policy/v2", rules: [] },
  "no version": { rules: [] },
  "rules that are no list": file({}),
  "a rule that is null": file([null]),
  "patterns that are no list": file([{ effect: "deny", tools: "danger" }]),
  "a key twice": '{"apiVersion":"clarity.policy/v1","rules":[],"rules":[{"effect":"allow"}]}',
  "two rules of one name": file([
    { name: "a", effect: "deny" },
    { name: "a", effect: "allow" },
  ]),
  "an allow by annotations alone": file([{ effect: "allow", annotations: { readOnly: true } }]),
  __proto__: '{"apiVersion":"clarity.policy/v1","__proto__":{"default":"allow"},"rules":[]}',
  "bytes that are no UTF-8": Buffer.from([0x7b, 0xff, 0x7d]),
  "100,000 rules": file(Array.from({ length: 100_000 }, () => ({ effect: "allow" }))),
}

/** Rules: by every way, in every state of their file. */
export const ruleCases: readonly Case[] = [
  {
    id: "POL-01",
    async run(trial) {
      await everyWay(trial, await ruled(trial.stand, denied))
    },
  },
  {
    id: "POL-02",
    async run({ stand, same, holds }) {
      const { daemon, recorder, inForce } = await ruled(stand, denied)
      const outcome = async (name: string) =>
        (await ask(daemon.url, "modern", "tools/call", { name, arguments: {} }))["error"]?.code ?? "ok"
      for (const [what, content] of Object.entries(wrongFiles)) {
        const status = await inForce(content)
        same(
          `${what}: the last good rules`,
          [-32602, "ok"],
          [await outcome("canary__danger"), await outcome("canary__echo")],
        )
        holds(
          `${what}: the status`,
          "says what is wrong",
          typeof status["problem"] === "string" && status["problem"] !== "",
          status,
        )
      }
      const calls = recorder.calls
      const good = await inForce(denied)
      same("the good file again", null, good["problem"] ?? null)
      for (const [what, content] of Object.entries(wrongFiles).slice(0, 6)) {
        const first = await ruled(stand, content)
        const answer = await ask(first.daemon.url, "modern", "tools/call", { name: "canary__echo", arguments: {} })
        holds(
          `${what}, and there never was a good one`,
          "everything is refused",
          answer["error"] !== undefined && first.recorder.calls === 0,
          answer,
        )
        await first.daemon.stop()
      }
      same("calls of the first meanwhile", calls, recorder.calls)
      const named = launchDaemon({ workspace: stand.folder(), args: ["--policy", "/no/such/policy.json"] })
      const came = await Promise.race([named.exited, named.says(/listens on (\S+)/).then((match) => match[1] ?? "")])
      if (typeof came === "string" && came.startsWith("http")) {
        const answer = await ask(came, "modern", "tools/call", { name: "runtime__list_services", arguments: {} })
        holds(
          "--policy names a file that is not there",
          "everything is refused",
          answer["error"] !== undefined || answer["result"]?.isError === true,
          answer,
        )
        named.child.kill()
        await named.exited
      } else
        holds(
          "--policy names a file that is not there",
          "the daemon does not start, or refuses everything",
          came !== 0,
          came,
        )
    },
  },
  {
    id: "POL-04",
    async run({ stand, holds, same }) {
      const { daemon, put } = await ruled(stand, file([]))
      const going = new AbortController()
      const response = await send(
        daemon.url,
        "modern",
        "subscriptions/listen",
        { notifications: { toolsListChanged: true } },
        { signal: going.signal },
      )
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      let heard = ""
      const hear = async (word: string) => {
        while (!heard.includes(word)) heard += Buffer.from((await reader.read()).value ?? []).toString()
      }
      await hear("acknowledged")
      const began = performance.now()
      put(denied)
      await Promise.race([hear("list_changed"), sleep(5000)])
      const ms = performance.now() - began
      holds(
        "an open listen stream",
        "is told within a second (and a half, on a busy machine)",
        heard.includes("list_changed") && ms < 1500,
        `${Math.round(ms)} ms`,
      )
      same(
        "the list",
        false,
        JSON.stringify((await ask(daemon.url, "modern", "tools/list"))["result"]).includes("danger"),
      )
      same(
        "a call",
        -32602,
        (await ask(daemon.url, "modern", "tools/call", { name: "canary__danger", arguments: {} }))["error"]?.code,
      )
      going.abort()
    },
  },
  {
    id: "POL-05",
    async run({ stand, same }) {
      const { daemon, inForce } = await ruled(stand)
      const decide = async (rules: unknown, more: object = {}) => {
        const status = await inForce(file(rules, more))
        if (typeof status["problem"] === "string") return "config error"
        const answer = await ask(daemon.url, "modern", "tools/call", { name: "canary__echo", arguments: {} })
        const refused = answer["error"]?.code === -32602 || answer["result"]?.isError === true
        return refused ? "no" : "yes"
      }
      const allow = { effect: "allow", services: ["canary"], tools: ["echo"] }
      const deny = { effect: "deny", services: ["canary"], tools: ["echo"] }
      const askFor = { effect: "ask", services: ["canary"], tools: ["echo"] }
      const table: [what: string, rules: unknown, more: object, expected: string][] = [
        ["no rules", [], {}, "yes"],
        ["no rules, default deny", [], { default: "deny" }, "no"],
        ["an allow rule with an empty list", [{ effect: "allow", services: ["canary"], tools: [] }], {}, "no"],
        ["an allow rule with an empty list, default deny", [{ effect: "allow", tools: [] }], { default: "deny" }, "no"],
        ["an allow rule, default deny", [allow], { default: "deny" }, "yes"],
        ["allow, then deny", [allow, deny], {}, "no"],
        ["deny, then allow", [deny, allow], {}, "no"],
        ["allow, then ask, where nobody can be asked", [allow, askFor], {}, "no"],
        ["deny and ask", [askFor, deny], {}, "no"],
        ["deny by a pattern, allow by name", [{ effect: "deny", tools: ["ec*"] }, allow], {}, "no"],
        ["allow by another spelling, default deny", [{ ...allow, tools: ["ECHO"] }], { default: "deny" }, "no"],
        ["deny by another spelling", [{ ...deny, tools: ["ECHO"] }], {}, "no"],
        ["deny for somebody else", [{ ...deny, principals: ["token:other"] }], {}, "yes"],
        ["deny with no principals", [{ ...deny, principals: [] }], {}, "yes"],
        ["default ask", [], { default: "ask" }, "no"],
        ["an unknown default", [], { default: "maybe" }, "config error"],
        ["an unknown key in a rule", [{ ...deny, tool: "x" }], {}, "config error"],
        ["a rule without an effect", [{ tools: ["echo"] }], {}, "config error"],
      ]
      for (const [what, rules, more, expected] of table) {
        same(what, expected, await decide(rules, more))
        await inForce(file([]))
      }
    },
  },
  {
    id: "ADM-04",
    async run({ stand, holds, same }) {
      const workspace = stand.folder()
      mkdirSync(join(workspace, ".clarity"), { recursive: true })
      writeFileSync(join(workspace, ".clarity", "policy.json"), JSON.stringify(file([], { pin: ["canary"] })))
      const [first, second] = [stand.own(await serveRecorder()), stand.own(await serveRecorder())]
      const daemon = stand.own(await startDaemon({ workspace, env: { SECRET: "moved-CANARY" } }))
      await daemon.register(manifest("canary", remote(first.url, { authRef: "env:SECRET" }), { era: "legacy" }))
      const moved = await daemon.register(
        manifest("canary", remote(second.url, { authRef: "env:SECRET" }), { era: "legacy" }),
      )
      holds(
        "another endpoint under the same name",
        "gets no secret of the first until an operator binds it",
        moved.runtime.lifecycle !== "RUNNING",
        moved.runtime.lifecycle,
      )
      same("what the second endpoint got", false, JSON.stringify(second.headers).includes("CANARY"))
    },
  },
]
