// A stdio MCP server that misbehaves: `node child.mjs <how> [folder]`. Plain JavaScript, so that it starts in no time.
import { appendFileSync, existsSync, readdirSync, readlinkSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const [how = "", folder = "."] = process.argv.slice(2)
const out = (text) => process.stdout.write(text)
const message = (id, rest) => JSON.stringify({ jsonrpc: "2.0", id, ...rest })
const text = (said) => ({ result: { content: [{ type: "text", text: said }] } })
const tool = (name, more = {}) => ({ name, inputSchema: { type: "object" }, ...more })
const note = (line) => appendFileSync(join(folder, "events"), `${line}\n`)
let calls = 0

note(`born ${process.pid} at ${Date.now()}`)
if (how === "exits") process.exit(3)
if (how === "exits_later") setTimeout(() => process.exit(3), 1000)
if (how === "deaf") process.on("SIGTERM", () => {})
if (how === "no_end" || how === "stops_reading") setInterval(() => {}, 1000)
if (how === "banner") out("Welcome!\nServer ready on stdio\n")
if (how === "request")
  out(
    `${message("own-1", { method: "sampling/createMessage", params: {} })}\n${message("own-2", { method: "no/such" })}\n`,
  )

const plays = {
  probe: () => text(JSON.stringify(seen())),
  echo: ({ arguments: args }) => text(String(args?.text ?? "")),
  named: () => {
    calls++
    const all = {
      half_line: () => out('{"jsonrpc":"2.0","id"'),
      flood_line: () => {
        const more = () => {
          while (out("x".repeat(65_536)));
        }
        process.stdout.on("drain", more)
        more()
      },
      many_lines: () => {
        const more = () => {
          while (out("this is no JSON\n".repeat(2000)));
        }
        process.stdout.on("drain", more)
        more()
      },
      every: () => process.exit(9),
      third: () => (calls >= 3 ? process.exit(9) : undefined),
    }
    return all[how]?.() === undefined && how in all && how !== "third" ? undefined : text("named")
  },
}

/** What this process was given: variables, open files, its folder, its mask, its own command line. */
function seen() {
  const fds = existsSync("/proc/self/fd")
    ? readdirSync("/proc/self/fd").flatMap((fd) => {
        try {
          return [[Number(fd), readlinkSync(`/proc/self/fd/${fd}`)]]
        } catch {
          return [] // the one this very listing was read through
        }
      })
    : []
  const environ = existsSync("/proc/self/environ") ? readFileSync("/proc/self/environ", "utf8").split("\0") : []
  return {
    variables: process.env,
    initial: environ.filter(Boolean).map((entry) => entry.split("=")[0]),
    fds,
    cwd: process.cwd(),
    umask: process.umask(),
    argv: process.argv.slice(2),
  }
}

function tools() {
  const file = join(folder, "tools.json")
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : [tool("probe"), tool("echo"), tool("named")]
}

function answer({ id, method, params }) {
  const results = {
    initialize: () => ({
      result: {
        protocolVersion: "2025-11-25",
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: "child", version: "1" },
      },
    }),
    "tools/list": () => {
      // Reads what is asked until it is known, and nothing after that.
      if (how === "stops_reading") setTimeout(() => process.stdin.removeAllListeners("data").pause(), 300)
      return { result: { tools: tools() } }
    },
    ping: () => ({ result: {} }),
    "tools/call": () => (plays[params.name] ?? plays.named)(params),
  }
  const reply = results[method] ? results[method]() : { error: { code: -32601, message: "not here" } }
  if (reply !== undefined) send(id, reply)
}

function send(id, reply) {
  const line = message(id, reply)
  const ways = {
    crlf: () => out(`${line}\r\n`),
    split: () => {
      const bytes = Buffer.from(`${line}\n`)
      let at = 0
      const next = () => {
        out(bytes.subarray(at, (at += 7)))
        if (at < bytes.length) setImmediate(next)
      }
      next()
    },
    two_in_one: () => out(`${message("nobody", { result: {} })}\n${line}\n${message("nobody", { result: {} })}\n`),
    garbage: () => out(`not json\n[]\n{"jsonrpc":"2.0"}\n${line}\n`),
    not_utf8: () => process.stdout.write(Buffer.concat([Buffer.from([0xff, 0xfe, 0x0a]), Buffer.from(`${line}\n`)])),
  }
  ;(ways[how] ?? (() => out(`${line}\n`)))()
}

let rest = ""
process.stdin.setEncoding("utf8")
process.stdin.on("data", (chunk) => {
  const lines = (rest + chunk).split("\n")
  rest = lines.pop() ?? ""
  for (const line of lines) {
    const asked = JSON.parse(line)
    if (asked.method === undefined) note(`answered ${line}`)
    else if (asked.id !== undefined) answer(asked)
  }
})
process.stdin.on("end", () => {
  if (how !== "no_end" && how !== "deaf") process.exit(0)
})
if (how === "mark") writeFileSync(join(folder, "mark"), "here")
