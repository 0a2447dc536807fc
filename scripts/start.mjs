// `npm start`: the example HTTP server, then clarityd with the three example services registered on the first start.
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const firstPort = 4717
const lastPort = 4737
const args = process.argv.slice(2)

const asks = args.some((arg) => ["-h", "--help", "-v", "--version"].includes(arg))
const units = asks ? undefined : await startUnits()
const folder = mkdtempSync(join(tmpdir(), "clarity-examples-"))
const file = join(folder, "examples.json")
writeFileSync(file, JSON.stringify({ services: manifests(units?.url) }, null, 2))

const daemon = spawn(
  process.execPath,
  [join(root, "apps/daemon/bin/clarityd.js"), ...args, ...(asks ? [] : ["--examples", file])],
  {
    stdio: ["inherit", "pipe", "inherit"],
  },
)
const forget = () => rmSync(folder, { recursive: true, force: true })
process.stdout.on("error", () => daemon.kill()) // nobody reads any more: the terminal is gone
let told = false
daemon.stdout.on("data", (chunk) => {
  process.stdout.write(chunk)
  const url = /MCP endpoint\s+(\S+)/.exec(String(chunk))?.[1]
  if (url && !told) {
    told = true
    forget() // the daemon has read them
    const port = new URL(url).port
    const ctl = port === "4707" ? "npm run -s ctl -- " : `CLARITYD_URL=${new URL(url).origin} npm run -s ctl -- `
    process.stdout.write(
      `\nTry, in another terminal:\n  ${ctl}call units__convert --json '{"value": 26.2, "from": "mi", "to": "km"}'\n\n`,
    )
  }
})
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.on(signal, () => daemon.kill(signal === "SIGHUP" ? "SIGTERM" : signal))
daemon.on("close", (code, signal) => {
  units?.stop()
  forget()
  process.exitCode = code ?? (signal === "SIGINT" ? 130 : 143)
})

/** On its fixed port, so that it keeps its identity from start to start; the next free one if something else has that. */
async function startUnits() {
  for (let port = firstPort; port <= lastPort; port++) {
    if (await isUnits(port)) return { url: `http://127.0.0.1:${port}/mcp`, stop: () => {} }
    const child = spawn(process.execPath, [join(root, "examples/units-http/server.js"), String(port)], {
      // It ends with the channel, however this process ends.
      stdio: ["ignore", "pipe", "ignore", "ipc"],
    })
    const url = await new Promise((resolve) => {
      child.stdout.once("data", (chunk) => resolve(String(chunk).trim()))
      child.once("exit", () => resolve(undefined))
    })
    if (!url) continue
    child.unref()
    child.channel?.unref()
    child.stdout.unref?.()
    return { url, stop: () => child.kill() }
  }
  console.error(`The example HTTP server found no free port between ${firstPort} and ${lastPort}; it is left out.`)
  return undefined
}

/** Another daemon of this checkout may have started it already. */
async function isUnits(port) {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(500) })
    return (await response.text()) === "units\n"
  } catch {
    return false
  }
}

function manifests(unitsUrl) {
  const manifest = (module, sourceFile, origin) => ({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile, module, displayName: `Example: ${module}` },
    spec: { origin },
  })
  const example = (path) => join(root, "examples", path)
  const notes = example("notes-stdio/server.js")
  return [
    manifest("sample", example("sample.clarity"), { type: "local_wasm", wasmPath: example("sample.wasm") }),
    manifest("notes", notes, { type: "local_stdio", command: "node", args: [notes] }),
    ...(unitsUrl ? [manifest("units", unitsUrl, { type: "remote_mcp", endpoint: unitsUrl })] : []),
  ]
}
