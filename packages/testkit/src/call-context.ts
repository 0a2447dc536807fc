import {
  silentLog,
  type BackendServices,
  type CallContext,
  type ClientProfile,
  type JsonObject,
  type McpRequest,
  type Principal,
} from "@clarity-runtime/contracts"
import { fakeCredentials } from "./fake-credentials.ts"
import { manualClock } from "./manual-clock.ts"
import { serviceDefinition } from "./manifests.ts"

let calls = 0

/** Somebody who may do everything. */
export const operator: Principal = { id: "local", kind: "token", scopes: ["admin"] }

/** A modern client that can be asked nothing. */
export const modernClient: ClientProfile = { era: "modern", protocolVersion: "2026-07-28", capabilities: {} }

/** A client of the last revision with a handshake that can be asked nothing. */
export const legacyClient: ClientProfile = { era: "legacy", protocolVersion: "2025-11-25", capabilities: {} }

/** A call by the operator with a modern client, generous limits, and a signal that never aborts unless you give one. */
export function callContext(overrides: Partial<CallContext> = {}): CallContext {
  return {
    id: `call-${++calls}`,
    principal: operator,
    client: modernClient,
    signal: new AbortController().signal,
    service: serviceDefinition(),
    limits: { idleMs: 20_000, totalMs: 60_000, maxResultBytes: 8 * 1024 * 1024 },
    trace: {},
    depth: 0,
    ...overrides,
  }
}

/** A `tools/call` request. */
export function toolCall(name: string, args: JsonObject = {}, meta: JsonObject = {}): McpRequest {
  return { method: "tools/call", params: { name, arguments: args }, meta }
}

/** What a factory is given to open a backend with: time stands still, nothing is logged, no credential is known. */
export function backendServices(overrides: Partial<BackendServices> = {}): BackendServices {
  return {
    clock: manualClock(),
    log: silentLog,
    credentials: fakeCredentials(),
    isolationKey: "shared",
    ...overrides,
  }
}
