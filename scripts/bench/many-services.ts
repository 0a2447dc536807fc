import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "undici"
import { load, median, quantile } from "./load.ts"
import { daemon, residentMb, script } from "./processes.ts"
import { addService, summaries, waitUntilRunning } from "./services.ts"
import { table } from "./table.ts"

/** 500 services with 20,000 tools: how long until the daemon is ready, how long a page of the list takes, what a call costs beside them. */
export async function manyServices(quick: boolean): Promise<void> {
  const services = quick ? 100 : 500
  const workspace = mkdtempSync(join(tmpdir(), "clarity-bench-many-"))
  const upstream = await script("many-upstream.ts")
  const endpoint = (n: number) => ({
    type: "remote_mcp",
    endpoint: `http://127.0.0.1:${upstream.port}/s/${n}`,
    maxConcurrency: 256,
  })
  try {
    const first = await daemon(workspace)
    const origin = `http://127.0.0.1:${first.port}`
    await addService(origin, "s0", endpoint(0))
    await waitUntilRunning(origin, ["s0"])
    const alone = await callAt(first.port)
    const names = Array.from({ length: services - 1 }, (_, i) => `s${i + 1}`)
    for (let at = 0; at < names.length; at += 25) {
      await Promise.all(
        names.slice(at, at + 25).map((name) => addService(origin, name, endpoint(Number(name.slice(1))))),
      )
    }
    await waitUntilRunning(origin, names)
    const among = await callAt(first.port)
    await first.stop()

    const starts: number[] = []
    const allRunning: number[] = []
    const pages: number[] = []
    let tools = 0
    let rss = 0
    for (let round = 0; round < (quick ? 2 : 5); round++) {
      const begun = performance.now()
      const next = await daemon(workspace)
      starts.push(next.readyMs)
      const listed = await listAll(next.port, pages)
      tools = listed
      await waitUntilRunning(`http://127.0.0.1:${next.port}`, [...names, "s0"])
      allRunning.push(performance.now() - begun)
      for (let i = 0; i < 10; i++) await listAll(next.port, pages)
      rss = Math.max(rss, residentMb(next.pid))
      if ((await summaries(`http://127.0.0.1:${next.port}`)).length !== services)
        throw new Error("a service is missing after the restart")
      await next.stop()
    }
    pages.sort((a, b) => a - b)
    console.log(`${services} services, ${tools} tools\n`)
    console.log(
      table(
        ["figure", "median", "worst"],
        [
          ["start to ready (listening, lists answered), ms", median(starts), Math.max(...starts)],
          ["start to all services running, ms", median(allRunning), Math.max(...allRunning)],
          [
            `tools/list, one page, ms (p99 ${quantile(pages, 0.99).toFixed(1)})`,
            quantile(pages, 0.5),
            Math.max(...pages),
          ],
          ["call c=16 alone, req/s", alone, alone],
          [`call c=16 among ${services}, req/s (x ${(among / alone).toFixed(2)})`, among, among],
          ["RSS, MB", rss, rss],
        ],
      ),
      "\n",
    )
  } finally {
    await upstream.stop()
    rmSync(workspace, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

async function callAt(port: number): Promise<number> {
  const target = { name: "s0", origin: `http://127.0.0.1:${port}`, path: "/mcp", tool: "s0__do_thing_0" }
  await load(target, 16, "0", 1000)
  return (await load(target, 16, "0", 3000)).requestsPerSecond
}

async function listAll(port: number, times: number[]): Promise<number> {
  const client = new Client(`http://127.0.0.1:${port}`)
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
  }
  let tools = 0
  let cursor: string | undefined
  do {
    const begun = performance.now()
    const { body } = await client.request({
      method: "POST",
      path: "/mcp",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
      },
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/list",
        params: { ...(cursor === undefined ? {} : { cursor }), _meta },
      }),
    })
    const { result } = (await body.json()) as { result: { tools: unknown[]; nextCursor?: string } }
    times.push(performance.now() - begun)
    tools += result.tools.length
    cursor = result.nextCursor
  } while (cursor !== undefined)
  await client.close()
  return tools
}
