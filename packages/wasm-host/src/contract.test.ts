import { join } from "node:path"
import { backendServices, serviceDefinition, toolCall, wasmManifest } from "@clarity-runtime/testkit"
import { backendContract } from "@clarity-runtime/testkit/suites"
import { wasmBackends } from "./index.ts"

const fixtures = join(import.meta.dirname, "../../../test/fixtures/clarity")

backendContract("a wasm module", async () => {
  const factory = wasmBackends({ callTimeoutMs: 60_000 })
  const manifest = wasmManifest({ name: "strings", origin: { wasmPath: join(fixtures, "strings.wasm") } })
  const service = serviceDefinition(manifest) as Parameters<typeof factory.open>[0]
  return {
    backend: await factory.open(service, backendServices(), new AbortController().signal),
    context: { service },
    echo: (text) => toolCall("fn__same", { text }),
    close: async () => factory[Symbol.asyncDispose](),
  }
})
