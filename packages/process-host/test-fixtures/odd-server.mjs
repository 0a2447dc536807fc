// A stdio server by hand: answers every request, and misbehaves in the way its first argument names.
import { spawn } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"

const mode = process.argv[2] ?? "plain"
const here = import.meta.filename
const print = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)

/** A descendant that ends for nothing but SIGKILL. */
function stubborn(options = {}) {
  const child = spawn(process.execPath, [here, "stubborn"], { stdio: ["ignore", "pipe", "ignore"], ...options })
  return new Promise((resolve) => child.stdout.once("data", () => resolve({ pid: child.pid })))
}

const methods = {
  echo: (params) => params,
  environment: () => ({ ...process.env }),
  place: () => {
    mkdirSync("made-here")
    writeFileSync("written-here", "")
    return { cwd: process.cwd(), umask: process.umask() }
  },
  arguments: () => process.argv.slice(3),
  family: async () => ({
    pid: process.pid,
    group: await stubborn(),
    left: await stubborn({ detached: true }),
  }),
  big: ({ bytes }) => ({ text: "x".repeat(bytes) }),
  die: ({ code, signal }) => {
    if (signal) process.kill(process.pid, signal)
    else process.exit(code)
    return new Promise(() => {})
  },
  deafen: () => {
    process.stdin.pause()
    return {}
  },
  grow: ({ mebibytes }) => {
    globalThis.kept = Buffer.alloc(mebibytes * 1024 * 1024, 1)
    return {}
  },
}

async function answer(line) {
  const { id, method, params } = JSON.parse(line)
  const act = methods[method]
  if (id === undefined) return
  if (act) print({ id, result: await act(params ?? {}) })
  else print({ id, error: { code: -32601, message: "no such method" } })
}

function serve() {
  let text = ""
  process.stdin.setEncoding("utf8").on("data", (chunk) => {
    text += chunk
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n")) {
      void answer(text.slice(0, at))
      text = text.slice(at + 1)
    }
  })
}

const modes = {
  plain: serve,
  silent: () => process.stdin.resume(),
  stubborn: () => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => {})
    setInterval(() => {}, 1 << 30)
    serve()
    print({ method: "notifications/ready" })
  },
  quits: () => {
    process.stderr.write("starting\nTypeError: no config found\n    at load (/srv/secret/place.js:1:1)\n")
    process.exitCode = 3
  },
  deaf: () => {
    setInterval(() => {}, 1 << 30)
    print({ id: 0, result: {} })
  },
  garbage: () => {
    serve()
    for (let n = 0; n < 500; n++) process.stdout.write(`not a message ${n}\n`)
  },
  endless: () => {
    serve()
    const chunk = Buffer.alloc(1 << 20, "a")
    let left = 100
    const more = () => {
      while (left-- > 0) if (!process.stdout.write(chunk)) return process.stdout.once("drain", more)
      process.stdout.write("\n")
      print({ method: "notifications/after" })
    }
    more()
  },
  chatty: () => {
    // Each line by itself is legal or forgivable; the last one proves that all before were survived.
    process.stdout.write("Welcome to the server v1.0\r\n\r\n")
    process.stdout.write('{"level":30,"msg":"a log line"}\n[]\nnull\n"text"\n{"jsonrpc":"2.0",\n')
    print({ method: "notifications/one", params: { text: "a\u2028b\u2029c\u0085d" } })
    process.stdout.write(
      '{"jsonrpc":"2.0","method":"notifications/two"}\r\n{"jsonrpc":"2.0","method":"notifications/three"}\n',
    )
    process.stdout.write(
      '[{"jsonrpc":"2.0","method":"notifications/four"},{"jsonrpc":"2.0","method":"notifications/five"}]\n',
    )
    serve()
    const bytes = Buffer.from(
      '{"jsonrpc":"2.0","method":"notifications/six","params":{"text":"h\u00e9 \u{1f600}","n":12345678901234567890}}\n',
    )
    let at = 0
    const timer = setInterval(() => {
      process.stdout.write(bytes.subarray(at, ++at))
      if (at === bytes.length) clearInterval(timer)
    })
  },
}
modes[mode]()
