import { spawn, spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { manifest, wasm } from "../../../test/e2e/support/daemon.ts"
import type { Case } from "../finding.ts"

/** What a page of another site tries with this daemon: everything a browser lets it send without asking. */
function page(target: string): string {
  const call = JSON.stringify({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: "canary__danger", arguments: {} },
  })
  const apply = JSON.stringify({ manifest: manifest("from_page", wasm("/x.wasm")) })
  const tries = [
    ["POST", "/mcp", call],
    ["POST", "/mcp/canary", call],
    ["POST", "/api/call", JSON.stringify({ tool: "canary__danger" })],
    ["POST", "/api/services/apply", apply],
    ["POST", "/api/config/reload", "{}"],
    ["GET", "/api/services", ""],
    ["GET", "/api/status", ""],
    ["GET", "/status", ""],
    ["GET", "/mcp", ""],
    ["GET", "/api/events", ""],
    ["GET", "/oauth/callback?code=x&state=y", ""],
    ["POST", "/api/tokens", JSON.stringify({ name: "page", scopes: ["admin"] })],
  ]
  return `<!doctype html><title>page</title><script>
const target = ${JSON.stringify(target)}
const tries = ${JSON.stringify(tries)}
const report = []
async function all() {
  for (const [method, path, body] of tries)
    for (const mode of ["no-cors", "cors"])
      for (const type of ["text/plain", "application/json", "application/x-www-form-urlencoded"])
        for (const credentials of ["omit", "include"]) {
          if (mode === "no-cors" && type === "application/json") continue
          try {
            const options = { method, mode, credentials, ...(method === "POST" ? { body, headers: { "content-type": type } } : {}) }
            const response = await fetch(target + path, { ...options, signal: AbortSignal.timeout(2000) })
            const text = mode === "cors" ? await response.text() : ""
            report.push([method, path, mode, type, response.type, text.slice(0, 40)].join(" "))
          } catch (error) { report.push([method, path, mode, type, "blocked"].join(" ")) }
        }
  navigator.sendBeacon(target + "/mcp", new Blob([tries[0][2]], { type: "text/plain" }))
  for (const tag of ["img", "script", "iframe"]) { const made = document.createElement(tag); made.src = target + "/api/config/reload"; document.body.append(made) }
  const form = document.createElement("form"); form.method = "POST"; form.action = target + "/api/services/apply"; form.enctype = "text/plain"; form.target = "sink"
  const field = document.createElement("input"); field.name = tries[3][2].slice(0, -1) + ',"x":"'; field.value = '"}'; form.append(field)
  const sink = document.createElement("iframe"); sink.name = "sink"; document.body.append(sink, form); form.submit()
  try { new WebSocket(target.replace("http", "ws") + "/mcp") } catch {}
  try { new EventSource(target + "/api/events") } catch {}
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await fetch("/report", { method: "POST", body: JSON.stringify(report) })
}
addEventListener("load", all)
</script><body></body>`
}

/** A real browser, on a page of another site. */
export const browserCases: readonly Case[] = [
  {
    id: "DNS-13",
    async run({ stand, same, holds, skip }) {
      const binary = ["chromium", "chromium-browser", "google-chrome"].find(
        (name) => spawnSync(name, ["--version"]).status === 0,
      )
      if (binary === undefined) return skip("no chromium is on the PATH")
      const { daemon, recorder } = await stand.open()
      const told = Promise.withResolvers<string[]>()
      const site = createServer((request, response) => {
        if (request.url !== "/report")
          return void response.writeHead(200, { "content-type": "text/html" }).end(page(daemon.url))
        let body = ""
        request.on("data", (chunk: Buffer) => (body += chunk.toString()))
        request.on("end", () => {
          response.end()
          told.resolve(JSON.parse(body) as string[])
        })
      }).listen(0, "127.0.0.2")
      await new Promise((resolve) => site.once("listening", resolve))
      const before = { calls: recorder.calls, services: (await daemon.client.listServices({})).total }
      const profile = stand.folder()
      const browser = spawn(
        binary,
        [
          "--headless=new",
          "--no-sandbox",
          "--disable-gpu",
          "--disable-dev-shm-usage",
          "--no-first-run",
          "--disable-background-networking",
          `--user-data-dir=${profile}`,
          `http://127.0.0.2:${(site.address() as AddressInfo).port}/`,
        ],
        { stdio: "ignore", detached: true },
      )
      const report = await Promise.race([told.promise, sleep(60_000).then(() => [] as string[])])
      if (browser.pid !== undefined) process.kill(-browser.pid, "SIGKILL")
      site.close()
      site.closeAllConnections()
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
      if (report.length === 0) return skip("the browser did not come to an end of its page here")
      holds("what the page tried", "dozens of requests", report.length > 40, report.length)
      same(
        "answers that it could read",
        [],
        report.filter(
          (line) => / (?:cors|basic) /.test(line.replace(/^(\S+ \S+ )\S+ /, "$1")) && !line.endsWith("blocked"),
        ),
      )
      same("calls of tools", before.calls, recorder.calls)
      const after = await daemon.client.listServices({})
      same("services", before.services, after.total)
      same("tokens", 0, (await daemon.client.listTokens({})).total)
      const audit = JSON.stringify((await daemon.client.getAudit({ limit: 500 })).items)
      same("the configuration read anew by it", false, audit.includes("config.reloaded"))
      holds("what the audit says", "origin_rejected", audit.includes("origin_rejected"))
    },
  },
]
