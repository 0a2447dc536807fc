// `node server.js [URL of a remote MCP server]`: the app on a port of its own, with the sample module and that server.
import { fileURLToPath } from "node:url"
import { serve } from "@hono/node-server"
import { createApp } from "./app.js"

const beside = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url))
const service = (module, sourceFile, origin) => ({
  apiVersion: "clarity.runtime/v1",
  kind: "MCPService",
  metadata: { module, sourceFile },
  spec: { origin },
})

const remote = process.argv[2]
const { app, dispose } = await createApp([
  service("sample", beside("sample.clarity"), { type: "local_wasm", wasmPath: beside("sample.wasm") }),
  ...(remote === undefined ? [] : [service("remote", remote, { type: "remote_mcp", endpoint: remote })]),
])
const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) }, ({ port }) =>
  console.log(`http://127.0.0.1:${port}/mcp`),
)
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await dispose()
    server.close()
    server.closeAllConnections()
  })
}
