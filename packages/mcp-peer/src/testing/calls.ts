import {
  parseManifest,
  systemClock,
  type Backend,
  type CallContext,
  type ClientProfile,
  type Clock,
  type JsonObject,
  type McpNotification,
  type McpRequest,
  type McpResult,
  type ServiceDefinition,
  type ServiceLog,
} from "@clarity-runtime/contracts"
import { expect } from "vitest"
import { createPeer, type PeerOptions } from "../peer.ts"
import type { Transport } from "../transport.ts"

export type EraSetting = "match" | "auto" | "legacy" | "modern"

export function serviceWith(era: EraSetting = "match"): ServiceDefinition {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "", module: "up" },
    spec: { origin: { type: "local_stdio", command: "up" }, era },
  })
  return { id: "svc_up", namespace: "up", manifest }
}

export const modernClient: ClientProfile = {
  era: "modern",
  protocolVersion: "2026-07-28",
  capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} },
  info: { name: "the-client", version: "3" },
}
export const legacyClient: ClientProfile = { ...modernClient, era: "legacy", protocolVersion: "2025-11-25" }
export const plainClient: ClientProfile = { era: "modern", protocolVersion: "2026-07-28", capabilities: {} }

let calls = 0

export function contextFor(client: ClientProfile, more: Partial<CallContext> = {}): CallContext {
  return {
    id: `call_${++calls}`,
    principal: { id: "local", kind: "anonymous", scopes: ["call"] },
    client,
    signal: new AbortController().signal,
    service: serviceWith(),
    limits: { idleMs: 60_000, totalMs: 300_000, maxResultBytes: 1_000_000 },
    trace: {},
    depth: 0,
    ...more,
  }
}

export function toolCall(
  name: string,
  args: JsonObject = {},
  meta: JsonObject = {},
  more: JsonObject = {},
): McpRequest {
  return { method: "tools/call", params: { name, arguments: args, ...more }, meta }
}

export interface Finished {
  readonly notifications: McpNotification[]
  readonly result: McpResult
}

export async function finish(backend: Backend, request: McpRequest, context: CallContext): Promise<Finished> {
  const reply = backend.call(request, context)
  const notifications: McpNotification[] = []
  for (;;) {
    const step = await reply.next()
    if (step.done) return { notifications, result: step.value }
    notifications.push(step.value)
  }
}

/** The text of a tool's first content block. */
export function textOf(result: McpResult): unknown {
  const [first] = (result["content"] ?? []) as JsonObject[]
  return first?.["text"]
}

export interface LoggedLine {
  readonly stream: string
  readonly text: string
}

export interface PeerFixture {
  readonly retries?: PeerOptions["retries"]
  readonly era?: EraSetting
  readonly clock?: Clock
  readonly lines?: LoggedLine[]
}

export async function peerOver(dial: () => Transport, fixture: PeerFixture = {}): Promise<Backend> {
  const log: ServiceLog = { write: (stream, text) => void fixture.lines?.push({ stream, text }) }
  const options = {
    service: serviceWith(fixture.era),
    dial,
    clock: fixture.clock ?? systemClock,
    log,
    retries: fixture.retries,
  }
  return createPeer(options, AbortSignal.timeout(20_000))
}

/** Looks often and long, so that a busy machine is no failure. */
export const eventually = <T>(read: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, { timeout: 15_000, interval: 5 })
