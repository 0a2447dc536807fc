import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { inRoot } from "../../../test/e2e/support/process.ts"
import { manifest, remote } from "../../../test/e2e/support/daemon.ts"
import { ask, post } from "../../../test/e2e/support/mcp.ts"
import type { Case } from "../finding.ts"
import { expressionsIn, folderOf, slowText } from "../own-expressions.ts"
import { serveRecorder } from "../recorder.ts"
import { registerRogue, serveRogue } from "../rogue.ts"

/** Expressions that are known to back-track, and what makes them. */
const pairs: readonly (readonly [pattern: string, pump: string, end: string])[] = [
  ["^(a+)+$", "a", "!"],
  ["^(a|a)*$", "a", "!"],
  ["^(a|aa)+$", "a", "!"],
  ["(a*)*$", "a", "!"],
  ["^(a|a?)+$", "a", "!"],
  ["^([a-zA-Z]+)*$", "a", "1"],
  ["(.*a){12}$", "a", "!"],
  ["(x+x+)+y", "x", "z"],
  ["^(([a-z])+.)+[A-Z]([a-z])+$", "a", "!"],
  ["^(\\d+)*$", "1", "x"],
  ["^(\\w+\\s?)*$", "a", "!"],
  ["^(\\s*\\w+\\s*)*$", " ", "!"],
  ["(\\s+)*$", " ", "x"],
  ["^([^:]*:)+$", ":", "x!"],
  ["^(.|\\n)*$x", "a", ""],
  ["([\\s\\S]*)*$x", "a", ""],
  [
    "^([a-z0-9]+([\\-a-z0-9]*[a-z0-9]+)?\\.){0,}([a-z0-9]+([\\-a-z0-9]*[a-z0-9]+)?){1,63}(\\.[a-z0-9]{2,7})+$",
    "a",
    "!",
  ],
  [
    "^([a-zA-Z0-9])(([\\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}[.]{1}[a-z]{2,3}))$",
    "a",
    "!",
  ],
  ["^\\{([^,]+,)*[^,]+\\}$", ",a", ""],
  ["(\\{([^}]*\\{?)*\\})", "{", ""],
  ["^(?:\\{[^}]*\\})*$", "{a}", "{"],
  ["\\{([^{}]+(,[^{}]+)*)\\}", "{a,", ""],
  ["(<[^>]*)*>", "<", ""],
  ["<(\\w+)[^>]*>.*</\\1>", "<a", ""],
  ['^("[^"]*"|[^,]*)(,("[^"]*"|[^,]*))*$', '",', ""],
  ["((\"[^\"]*\")|('[^']*')|[^\"'])*$x", '"', ""],
  ["(?:\\/\\*(?:[\\s\\S]*?)\\*\\/|\\s)*x", "/**/", ""],
  ["^(/[^/]+)+/?$x", "/a", ""],
  ["(%[0-9a-f]{2})+$x", "%41", "%"],
  ["(\\.\\.?/)*$x", "../", ""],
  ["^[\\w.+-]+@([\\w-]+\\.)+[\\w-]{2,4}$", "a@a.", "!"],
  ["(https?://)?([\\da-z.-]+)\\.([a-z.]{2,6})([/\\w .-]*)*/?$", "a/", "!"],
  ["^([0-9]{1,3}\\.?)+$", "1.", "x"],
  ["((\\d{1,3}[,.]?)+)$x", "1,", ""],
  ["^(-?\\d+\\.?\\d*,?\\s?)*$", "1,", "x"],
  ['(\\\\.|[^"\\\\])*"$x', "\\\\", ""],
  ["(?:a|b|ab)*c", "ab", ""],
  ["^(?:(?:a*)*b)*$", "a", ""],
  ["(a?){25}a{25}", "a", ""],
  ["(?=(a+))a*b\\1", "a", ""],
  ["^(?!(a+)+b)", "a", "c"],
  ["\\b(\\w+)+\\b$!", "a", ""],
]
/** Those that only ever meet texts that are short, or of a form that cannot make them slow. */
const bounded: readonly (readonly [where: string, source: string, why: string])[] = [
  [
    "policy/src/duplicate-keys.ts",
    String.raw`"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]`,
    "sees only texts that are valid JSON",
  ],
  ["supervisor/src/foreign-names.ts", "[.-]+$", "sees words of at most 128 characters"],
  ["hono/dist/router/reg-exp-router/trie.js", String.raw`\{(?:\{[\d,]+\}|[^}])+\}`, "sees the daemon's own routes"],
  ["hono/dist/utils/url.js", String.raw`\{[^}]+\}`, "sees the daemon's own routes"],
]
/** Parts of a package that the daemon does not load. */
const elsewhere = /\/(?:cjs|client|jsx|middleware|adapter|types|helper|utils\/jwt)\//

const long = (pump: string, end: string) => pump.repeat(Math.ceil(4000 / pump.length)) + end

/** No expression of anybody's, and no text, makes a decision slow. */
export const expressionCases: readonly Case[] = [
  {
    id: "RE-01",
    async run({ stand, holds, same }) {
      const workspace = stand.folder()
      mkdirSync(join(workspace, ".clarity"), { recursive: true })
      const patterns = pairs.map(([pattern]) => pattern)
      const stars = ["*a*a*a*a*a*a*a*a*a*a*b", "a*".repeat(200), "*".repeat(512), "?*".repeat(100)]
      writeFileSync(
        join(workspace, ".clarity", "policy.json"),
        JSON.stringify({
          apiVersion: "clarity.policy/v1",
          rules: [
            { effect: "deny", tools: [...patterns, ...stars] },
            { effect: "deny", resources: [...patterns, ...stars] },
            { effect: "deny", principals: stars },
          ],
        }),
      )
      const daemon = await stand.fresh({ workspace })
      const tools = pairs.map(([pattern], at) => ({
        name: `work_${at}`,
        inputSchema: {
          type: "object",
          properties: { text: { type: "string", pattern } },
          patternProperties: { [pattern]: { type: "string" } },
        },
      }))
      const upstream = stand.own(await serveRogue({ tools }))
      await registerRogue(daemon, "patterned", upstream.url)
      const timed = async (act: () => Promise<unknown>): Promise<number> => {
        let best = Infinity
        for (let tries = 0; tries < 3 && best > 50; tries++) {
          const begun = performance.now()
          await act()
          best = Math.min(best, performance.now() - begun)
        }
        return best
      }
      const quick = (what: string, ms: number) => holds(what, "at most 50 ms", ms <= 50, `${ms.toFixed(1)} ms`)
      for (const [at, [pattern, pump, end]] of pairs.entries()) {
        const text = long(pump, end)
        quick(
          `${pattern} as a schema's pattern, and its text as the argument`,
          await timed(() =>
            ask(daemon.url, "legacy", "tools/call", {
              name: `patterned__work_${at}`,
              arguments: { text, [text.slice(0, 200)]: text },
            }),
          ),
        )
        quick(
          `${pattern} as a rule's pattern, and its text as the tool`,
          await timed(() => ask(daemon.url, "legacy", "tools/call", { name: `patterned__${text}`, arguments: {} })),
        )
        quick(
          `${pattern}: its text as a URI`,
          await timed(() => ask(daemon.url, "legacy", "resources/read", { uri: `patterned+x://${text}` })),
        )
        quick(
          `${pattern}: its text in headers`,
          await timed(() =>
            post(`${daemon.url}/mcp`, '{"jsonrpc":"2.0","id":1,"method":"ping"}', {
              headers: {
                accept: text.replace(/[^\x20-\x7e]/g, " "),
                "mcp-name": `=?base64?${"A".repeat(4000)}?`,
                origin: "http://127.0.0.1",
                authorization: text.replace(/[^\x20-\x7e]/g, " "),
              },
            }).then((response) => response.text()),
          ),
        )
        quick(`${pattern}: its text as a method`, await timed(() => ask(daemon.url, "legacy", text.slice(0, 250))))
      }
      for (const star of stars)
        quick(
          `the pattern ${star.slice(0, 24)} against a long name`,
          await timed(() =>
            ask(daemon.url, "legacy", "tools/call", { name: `patterned__${"a".repeat(400)}`, arguments: {} }),
          ),
        )
      const recorder = stand.own(await serveRecorder())
      const evil = await daemon.register(manifest("a".repeat(250), remote(recorder.url), { era: "legacy" }))
      same("a service with a name of 250 letters", "RUNNING", evil.runtime.lifecycle)
    },
  },
  {
    id: "RE-02",
    async run({ holds, same }) {
      const rooms = [
        "auth-providers",
        "contracts",
        "control",
        "gateway",
        "mcp-peer",
        "outbound",
        "policy",
        "process-host",
        "registry",
        "remote-proxy",
        "state",
        "supervisor",
        "telemetry",
        "wasm-host",
      ]
      const own = expressionsIn([
        ...rooms.map((room) => inRoot(`packages/${room}/src`)),
        inRoot("apps/daemon/src"),
        inRoot("apps/ctl/src"),
      ])
      for (const one of own) {
        const bound = bounded.find(([where, source]) => one.where.endsWith(where) && one.expression.source === source)
        if (bound !== undefined) {
          holds(`${bound[0]} ${String(one.expression).slice(0, 80)}`, bound[2], true)
          continue
        }
        const slow = slowText(one)
        same(
          `${one.where.slice(inRoot("").length)} ${String(one.expression).slice(0, 80)}`,
          "no slow text found",
          slow === undefined ? "no slow text found" : `${Math.round(slow.ms)} ms for ${JSON.stringify(slow.text)}`,
        )
      }
      const dependencies: readonly (readonly [string, string])[] = [
        ["hono", "packages/gateway"],
        ["valibot", "packages/contracts"],
        ["eventsource-parser", "packages/remote-proxy"],
        ["@hono/node-server", "apps/daemon"],
        ["jose", "packages/auth-providers"],
        ["oauth4webapi", "packages/auth-providers"],
      ]
      for (const [name, room] of dependencies) {
        const theirs = expressionsIn([folderOf(name, inRoot(room))]).filter(({ where }) => !elsewhere.test(where))
        const slow = theirs.flatMap((one) => {
          const found = slowText(one)
          const known = bounded.some(([where, source]) => one.where.endsWith(where) && one.expression.source === source)
          return found === undefined || known
            ? []
            : [
                `${one.where.split(`/${name}/`).at(-1)} ${String(one.expression).slice(0, 60)}: ${Math.round(found.ms)} ms`,
              ]
        })
        holds(`${name}: ${theirs.length} expressions`, "no slow text found", slow.length === 0, slow.slice(0, 5))
      }
    },
  },
]
