import { fileURLToPath } from "node:url"
import {
  parseManifest,
  silentLog,
  systemClock,
  type Backend,
  type BackendServices,
  type CallContext,
  type JsonObject,
  type McpResult,
  type OriginOf,
  type ServiceDefinition,
  type ServiceLog,
} from "@clarity-runtime/contracts"

/** For this room's tests only: services, contexts and calls with the least said. */

export type WasmService = ServiceDefinition & { manifest: { spec: { origin: OriginOf<"local_wasm"> } } }

/** Path of a Clarity fixture of the repository. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../../../../test/fixtures/clarity/${name}`, import.meta.url))
}

export function wasmService(wasmPath: string, sourceFile = "", limits?: JsonObject): WasmService {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile, module: "Fixture" },
    spec: { origin: { type: "local_wasm", wasmPath }, ...(limits === undefined ? {} : { limits }) },
  })
  return { id: "fixture", namespace: "fixture", manifest } as WasmService
}

export function backendServices(log: ServiceLog = silentLog): BackendServices {
  const refuse = async () => {
    throw new Error("no credentials here")
  }
  return { clock: systemClock, log, credentials: { headers: refuse, secret: refuse }, isolationKey: "shared" }
}

export function callContext(service: ServiceDefinition, options: Partial<CallContext> = {}): CallContext {
  return {
    id: "call",
    principal: { id: "local", kind: "anonymous", scopes: ["call"] },
    client: { era: "modern", protocolVersion: "2026-07-28", capabilities: {} },
    signal: new AbortController().signal,
    service,
    limits: { idleMs: 60_000, totalMs: 60_000, maxResultBytes: 8 * 1024 * 1024 },
    trace: {},
    depth: 0,
    ...options,
  }
}

export async function callTool(
  backend: Backend,
  service: ServiceDefinition,
  name: string,
  args: unknown,
  options: Partial<CallContext> = {},
): Promise<McpResult> {
  const request = { method: "tools/call", params: { name, arguments: args }, meta: {} }
  const reply = backend.call(request, callContext(service, options))
  for (;;) {
    const step = await reply.next()
    if (step.done) return step.value
  }
}

export function valueOf(result: McpResult): unknown {
  return (result["structuredContent"] as { result: unknown }).result
}

export function textOf(result: McpResult): string {
  return (result["content"] as { text: string }[])[0]?.text ?? ""
}
