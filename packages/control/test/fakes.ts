import {
  ClarityError,
  createBroadcast,
  diffInterfaces,
  emptyInterface,
  interfaceRevision,
  namespaceOf,
  serviceIdOf,
  type AuditDesk,
  type Caller,
  type CredentialStore,
  type Interface,
  type LogLine,
  type RecordedEvent,
  type Registry,
  type RegistrySnapshot,
  type ServiceRecord,
  type ServiceStatus,
  type Supervision,
  type Telemetry,
  type Timeline,
} from "@clarity-runtime/contracts"
import { manualClock } from "@clarity-runtime/testkit"
import type { ControlContext, ControlSettings } from "../src/context.ts"
import { fakeDesk } from "./fake-desk.ts"
import { fakeBindings, fakeLogins } from "./fake-logins.ts"
import { fakeTokens } from "./fake-tokens.ts"

export const start = Date.UTC(2026, 0, 1)

/** A registry in memory; time goes on by a second with every change. */
export function fakeRegistry(): Registry {
  let snapshot: RegistrySnapshot = { generation: 0, services: new Map() }
  const faces = new Map<string, Interface>()
  const changed = createBroadcast<RegistrySnapshot>()
  let now = start
  const write = (edit: (services: Map<string, ServiceRecord>) => void) => {
    const services = new Map(snapshot.services)
    edit(services)
    snapshot = { generation: snapshot.generation + 1, services }
    changed.publish(snapshot)
  }
  const need = (id: string) => {
    const record = snapshot.services.get(id)
    if (record === undefined) throw new ClarityError("not_found", `service not found: ${id}`)
    return record
  }
  return {
    snapshot: () => snapshot,
    changes: (signal) => changed.subscribe(signal),
    async put(manifest) {
      const id = serviceIdOf(manifest)
      now += 1000
      const old = snapshot.services.get(id)
      const record = {
        ...old,
        id,
        manifest,
        revision: (old?.revision ?? 0) + 1,
        createdAt: old?.createdAt ?? now,
        updatedAt: now,
      }
      write((services) => services.set(id, record))
      return record
    },
    async patch(id, { desired, quarantine }) {
      const { desired: _, quarantine: __, ...rest } = need(id)
      const record = { ...rest, ...(desired ? { desired } : {}), ...(quarantine ? { quarantine } : {}) }
      write((services) => services.set(id, record))
      return record
    },
    async remove(id) {
      const record = need(id)
      write((services) => services.delete(id))
      return record
    },
    async storeInterface(id, face, introspectedAt) {
      const revision = interfaceRevision(face)
      faces.set(id, face)
      const record = { ...need(id), interface: { revision, introspectedAt } }
      write((services) => services.set(id, record))
      return revision
    },
    interfaceOf: (id) => faces.get(id),
    async [Symbol.asyncDispose]() {
      changed.close()
    },
  }
}

export interface FakeSupervision extends Supervision {
  /** What the next start of that service comes to; default it runs with an empty interface. */
  readonly faces: Map<string, Interface>
  readonly failures: Map<string, { reason: string; hint?: string }>
  readonly asked: string[]
}

export function fakeSupervision(registry: Registry): FakeSupervision {
  const states = new Map<string, ServiceStatus>()
  const faces = new Map<string, Interface>()
  const failures = new Map<string, { reason: string; hint?: string }>()
  const asked: string[] = []
  const base = (id: string): ServiceStatus => {
    const record = registry.snapshot().services.get(id)
    if (record === undefined) throw new ClarityError("not_found", `service not found: ${id}`)
    return {
      id,
      namespace: namespaceOf(record.manifest),
      manifest: record.manifest,
      lifecycle: "STOPPED",
      health: "UNKNOWN",
      stale: true,
      listed: false,
      desired: "stopped",
      uptimeSeconds: 0,
      restartCount: 0,
      instances: 0,
    }
  }
  const become = (id: string, state: Partial<ServiceStatus>) => {
    const next = { ...base(id), ...state }
    states.set(id, next)
    return next
  }
  const begin = (id: string): ServiceStatus => {
    if (states.get(id)?.lifecycle === "QUARANTINED") {
      throw new ClarityError("conflict", `service is quarantined: ${id} (use unquarantine first)`)
    }
    const failed = failures.get(id)
    if (failed !== undefined)
      return become(id, { lifecycle: "CRASHED", health: "DEGRADED", desired: "running", ...failed })
    const face = faces.get(id) ?? emptyInterface
    return become(id, {
      lifecycle: "RUNNING",
      health: "HEALTHY",
      desired: "running",
      instances: 1,
      pid: 4711,
      uptimeSeconds: 3,
      interface: face,
      revision: interfaceRevision(face),
      introspectedAt: start,
      stale: false,
      listed: true,
    })
  }
  return {
    faces,
    failures,
    asked,
    snapshot: () => ({ generation: 1, services: [...states.values()] }),
    async *changes() {},
    async acquire(id) {
      throw new ClarityError("unavailable", `no backend for ${id}`)
    },
    status: (id) => (registry.snapshot().services.has(id) ? states.get(id) : undefined),
    statuses: () => [...states.values()],
    async start(id) {
      asked.push(`start ${id}`)
      return begin(id)
    },
    async stop(id) {
      asked.push(`stop ${id}`)
      return become(id, {})
    },
    async restart(id) {
      asked.push(`restart ${id}`)
      return begin(id)
    },
    async unquarantine(id) {
      asked.push(`unquarantine ${id}`)
      return become(id, {})
    },
    async introspect(id) {
      asked.push(`introspect ${id}`)
      const state = states.get(id)
      if (state?.lifecycle !== "RUNNING") throw new ClarityError("unavailable", `service is not running: ${id}`)
      const before = state.interface ?? emptyInterface
      const after = faces.get(id) ?? emptyInterface
      begin(id)
      return { revision: interfaceRevision(after), introspectedAt: start, diff: diffInterfaces(before, after) }
    },
  }
}

export interface FakeTimeline extends Timeline, Telemetry {
  readonly recorded: RecordedEvent[]
  readonly forgotten: string[]
  readonly followers: number
}

export function fakeTimeline(): FakeTimeline {
  const recorded: RecordedEvent[] = []
  const lines = new Map<string, LogLine[]>()
  const forgotten: string[] = []
  const events = createBroadcast<RecordedEvent>(8)
  const logs = createBroadcast<LogLine & { id: string }>(8)
  const stamp = () => new Date(start + recorded.length * 1000).toISOString()
  return {
    recorded,
    forgotten,
    get followers() {
      return events.readers + logs.readers
    },
    record(event) {
      const kept = { seq: recorded.length + 1, at: stamp(), ...event }
      recorded.push(kept)
      events.publish(kept)
    },
    logOf: (id) => ({
      write(stream, text) {
        const line = { at: stamp(), stream, text }
        lines.set(id, [...(lines.get(id) ?? []), line])
        logs.publish({ ...line, id })
      },
    }),
    events: ({ limit, serviceId, kind, before }) =>
      recorded
        .filter((event) => serviceId === undefined || event.serviceId === serviceId)
        .filter((event) => kind === undefined || event.kind.startsWith(kind))
        .filter((event) => before === undefined || event.seq < before)
        .toReversed()
        .slice(0, limit),
    logs: (id, limit) => (lines.get(id) ?? []).toReversed().slice(0, limit),
    follow: (signal) => events.subscribe(signal),
    async *followLogs(wanted, signal) {
      for await (const { id, ...line } of logs.subscribe(signal)) if (id === wanted) yield line
    },
    forget: (id) => void forgotten.push(id),
  }
}

/** Secrets in memory; a value never comes out but through the two calls that are meant for it. */
export function fakeSecrets(): CredentialStore & { readonly values: Map<string, string> } {
  const values = new Map<string, string>()
  const valueOf = (reference: string) => {
    const value = values.get(reference)
    if (value === undefined) throw new ClarityError("upstream_unauthorized", `no credential for ${reference}`)
    return value
  }
  return {
    values,
    headers: async (reference) => ({ authorization: `Bearer ${valueOf(reference)}` }),
    secret: async (reference) => valueOf(reference),
    providers: async () => ({
      providers: [{ name: "file", supported: true }],
      fileRoot: "/secrets",
      fileRootExists: true,
    }),
    validate: async (authRef) => ({
      authRef,
      provider: "file",
      redactedTarget: authRef,
      valid: values.has(authRef),
      issues: values.has(authRef) ? [] : ["missing"],
      headerKeys: ["authorization"],
      source: "file",
    }),
    list: async () =>
      [...values.keys()].map((authRef) => ({ authRef, relativePath: authRef, updatedAt: "2026-01-01T00:00:00Z" })),
    async set(authRef, secret) {
      values.set(authRef, secret)
      return { authRef, provider: "file", path: `/secrets/${authRef}`, written: true }
    },
    delete: async (authRef) => ({ authRef, provider: "file", deleted: values.delete(authRef) }),
  }
}

export const echoCaller: Caller = {
  async *call({ params }, { principal, signal }) {
    if (signal.aborted) throw new ClarityError("cancelled", "gone")
    if (params["name"] === "asks__back") return { resultType: "input_required" }
    yield { method: "notifications/progress" }
    return { content: [{ type: "text", text: `${principal.id} ${JSON.stringify(params)}` }] }
  },
}

const fakeAudit: AuditDesk = {
  notices: [],
  verify: async ({ expect }) => ({
    ok: expect === undefined,
    records: 2,
    segments: 1,
    bytes: 700,
    first: 1,
    last: { seq: 2, hash: "0".repeat(64) },
    unrecorded: 0,
    problems: expect === undefined ? [] : [{ file: "", line: 0, what: `record ${expect.seq} is not in the chain` }],
  }),
}

export function fakeContext(settings: Partial<ControlSettings> = {}) {
  const registry = fakeRegistry()
  const supervision = fakeSupervision(registry)
  const timeline = fakeTimeline()
  const credentials = fakeSecrets()
  const clock = manualClock(start)
  const desk = fakeDesk()
  const tokens = fakeTokens()
  const context: ControlContext = {
    policy: desk,
    bindings: fakeBindings(),
    logins: fakeLogins(),
    tokens,
    audit: fakeAudit,
    registry,
    supervision,
    timeline,
    telemetry: timeline,
    credentials,
    caller: echoCaller,
    clock,
    reloadConfiguration: () => ({ changed: ["allowedHosts"], needsRestart: [] }),
    info: () => ({
      version: "0.10.0",
      pid: 42,
      startedAt: start - 90_000,
      listen: "http://127.0.0.1:4707",
      mcpPath: "/mcp",
      notices: ["a notice"],
    }),
    settings: { provisioning: false, buildRoot: "/nowhere", ...settings },
  }
  return { context, registry, supervision, timeline, credentials, clock, desk, tokens }
}
