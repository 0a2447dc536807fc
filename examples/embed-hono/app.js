// A Hono app of its own with one more route: every MCP service it knows behind /mcp. No daemon, no files, no supervisor.
import { anonymous } from "@clarity-runtime/auth-providers"
import { parseManifest } from "@clarity-runtime/contracts"
import { createGateway, openOnUse } from "@clarity-runtime/gateway"
import { allowAll } from "@clarity-runtime/policy"
import { createRegistry, memoryStore } from "@clarity-runtime/registry"
import { remoteBackends } from "@clarity-runtime/remote-proxy"
import { wasmBackends } from "@clarity-runtime/wasm-host"
import { Hono } from "hono"

/** The app, and what ends with it. */
export async function createApp(manifests) {
  const registry = await createRegistry({ store: memoryStore() })
  for (const manifest of manifests) await registry.put(parseManifest(manifest))

  const backends = [remoteBackends(), wasmBackends()]
  const source = openOnUse({ registry, backends })
  const gateway = createGateway({ source, authenticators: [anonymous()], policy: allowAll() })

  const app = new Hono()
  app.get("/", (c) => c.text("an app of its own\n"))
  app.all("/mcp/*", (c) => gateway.fetch(c.req.raw, c.env))

  const dispose = async () => {
    for (const thing of [gateway, source, ...backends, registry]) await thing[Symbol.asyncDispose]()
  }
  return { app, dispose }
}
