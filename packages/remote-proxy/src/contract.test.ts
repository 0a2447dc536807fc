import { systemClock } from "@clarity-runtime/contracts"
import {
  backendServices,
  legacyClient,
  modernClient,
  remoteManifest,
  serviceDefinition,
  toolCall,
} from "@clarity-runtime/testkit"
import { backendContract } from "@clarity-runtime/testkit/suites"
import { vi } from "vitest"
import { remoteBackends } from "./index.ts"
import { sdkSse, sdkV1, sdkV2, type SdkServer } from "./testing/sdk-servers.ts"

const kinds: [string, () => Promise<SdkServer>, "streamable_http" | "sse_http", typeof legacyClient][] = [
  ["streamable HTTP with sessions", () => sdkV1({ sessions: true }), "streamable_http", legacyClient],
  ["streamable HTTP without sessions", () => sdkV1({ sessions: false }), "streamable_http", legacyClient],
  ["HTTP+SSE", sdkSse, "sse_http", legacyClient],
  ["modern streamable HTTP", () => sdkV2("sse"), "streamable_http", modernClient],
]

for (const [name, make, transport, client] of kinds)
  backendContract(name, async () => {
    const server = await make()
    const factory = remoteBackends()
    const manifest = remoteManifest({ name: "up", origin: { endpoint: server.url.href, transport } })
    const service = serviceDefinition(manifest) as Parameters<typeof factory.open>[0]
    const services = backendServices({ clock: systemClock })
    return {
      backend: await factory.open(service, services, new AbortController().signal),
      context: { service, client },
      echo: (text) => toolCall("echo", { text }),
      endless: {
        request: toolCall("slow", {}, { progressToken: "begun" }),
        // Without a session the server cannot be told which call to stop.
        ...(name.includes("without") ? {} : { stopped: () => vi.waitUntil(() => server.cancelled.includes("slow")) }),
      },
      async close() {
        await factory[Symbol.asyncDispose]()
        await server[Symbol.asyncDispose]()
      },
    }
  })
