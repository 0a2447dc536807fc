import { healths, lifecycles } from "@clarity-runtime/contracts"
import * as v from "valibot"

/**
 * What operations answer, as schemas: the OpenAPI document, the tools' output schemas and the client's types come
 * from here. Times are ISO 8601 in UTC. Lists are newest first.
 */
const text = v.string()
const time = v.pipe(v.string(), v.isoTimestamp())
const whole = v.pipe(v.number(), v.integer())
const json = v.record(v.string(), v.unknown())
const nullable = <S extends v.GenericSchema>(schema: S) => v.nullable(schema)

const limits = v.object({
  timeoutMs: v.optional(whole),
  allowedTools: v.optional(v.array(text)),
  maxPayloadBytes: v.optional(whole),
  maxConcurrency: v.optional(whole),
})

export const summaryShape = v.object({
  serviceId: text,
  displayName: nullable(text),
  sourceFile: text,
  module: text,
  serviceType: v.picklist(["mcp", "agent"]),
  agent: nullable(json),
  originType: v.picklist(["local_wasm", "local_stdio", "remote_mcp"]),
  namespace: text,
  lifecycle: v.picklist(lifecycles),
  health: v.picklist(healths),
  reason: nullable(text),
  hint: nullable(text),
  uptimeSeconds: v.number(),
  restartCount: whole,
  policy: v.object({
    restart: v.object({ mode: text, maxRestarts: whole, windowSeconds: whole }),
    remote: nullable(limits),
  }),
  interface: nullable(
    v.object({
      interfaceRevision: text,
      introspectedAt: nullable(time),
      stale: v.boolean(),
      tools: whole,
      resources: whole,
      prompts: whole,
    }),
  ),
})
export type Summary = v.InferOutput<typeof summaryShape>

export const serviceShape = v.object({
  serviceId: text,
  namespace: text,
  revision: whole,
  createdAt: time,
  updatedAt: time,
  manifest: json,
  runtime: v.object({
    lifecycle: v.picklist(lifecycles),
    health: v.picklist(healths),
    desired: v.picklist(["running", "stopped"]),
    enabled: v.boolean(),
    autostart: v.boolean(),
    uptimeSeconds: v.number(),
    restartCount: whole,
    instances: whole,
    pid: v.optional(whole),
    rssBytes: v.optional(whole),
    lastError: v.optional(text),
    hint: v.optional(text),
    lastHeartbeatAt: v.optional(time),
    nextAttemptAt: v.optional(time),
    quarantine: v.optional(v.object({ reason: text, since: time })),
  }),
  interfaceSnapshot: v.optional(
    v.object({ interfaceRevision: text, introspectedAt: nullable(time), stale: v.boolean() }),
  ),
})
export type Service = v.InferOutput<typeof serviceShape>

export const interfaceShape = v.object({
  serviceId: text,
  interfaceRevision: nullable(text),
  introspectedAt: nullable(time),
  stale: v.boolean(),
  tools: v.array(json),
  resources: v.array(json),
  resourceTemplates: v.array(json),
  prompts: v.array(json),
  instructions: v.optional(text),
  serverInfo: v.optional(json),
  protocol: v.optional(json),
  rejected: v.optional(v.array(v.object({ item: text, reason: text }))),
})
export type InterfaceAnswer = v.InferOutput<typeof interfaceShape>

export const diffShape = v.object({ added: v.array(text), removed: v.array(text), changed: v.array(text) })

export const eventShape = v.object({
  seq: whole,
  at: time,
  kind: text,
  level: v.picklist(["info", "warn", "error"]),
  message: text,
  serviceId: v.optional(text),
  data: v.optional(json),
})
export type EventAnswer = v.InferOutput<typeof eventShape>

export const logLineShape = v.object({
  at: time,
  stream: v.picklist(["stdout", "stderr", "runtime"]),
  text,
})

export const nextCursor = nullable(text)
export const serviceAnswer = v.object({ service: serviceShape })
export const listAnswer = v.object({ items: v.array(summaryShape), total: whole, nextCursor })
export const eventsAnswer = v.object({ items: v.array(eventShape), nextCursor })
export const serviceEventsAnswer = v.object({ serviceId: text, items: v.array(eventShape), nextCursor })
export const auditReport = v.object({
  ok: v.boolean(),
  records: whole,
  segments: whole,
  bytes: whole,
  first: v.optional(whole),
  last: v.optional(v.object({ seq: whole, hash: text })),
  unrecorded: whole,
  problems: v.array(v.object({ file: text, line: whole, what: text })),
})
export const logsAnswer = v.object({ serviceId: text, lines: v.array(text), items: v.array(logLineShape) })
export const introspectAnswer = v.object({ interface: interfaceShape, diff: diffShape })
export const removeAnswer = v.object({
  removed: v.literal(true),
  serviceId: text,
  artifactRemoved: v.boolean(),
  artifactKept: v.optional(text),
})
export const detailsAnswer = v.object({
  serviceId: text,
  summary: summaryShape,
  service: serviceShape,
  interface: interfaceShape,
  logs: v.array(text),
  events: v.array(eventShape),
  recentCalls: v.array(v.object({ at: time, message: text, data: v.optional(json) })),
})

const toolNames = v.array(v.object({ name: text, description: text }))
export const statusAnswer = v.object({
  runtime: v.object({ version: text, pid: whole, startedAt: time, uptimeSeconds: v.number() }),
  gateway: v.object({ listen: text, mcpPath: text, healthy: v.boolean() }),
  systemTools: v.object({
    count: whole,
    items: v.array(text),
    runtime: v.object({ count: whole, items: toolNames }),
  }),
  summary: v.object({
    total: whole,
    mcpServices: whole,
    agentServices: whole,
    running: whole,
    runningMcp: whole,
    runningAgent: whole,
    healthy: whole,
    degraded: whole,
    starting: whole,
    stopped: whole,
    crashed: whole,
    quarantined: whole,
    localMcp: whole,
    remoteMcp: whole,
    localAgent: whole,
    remoteAgent: whole,
    local: whole,
    remote: whole,
  }),
  services: v.array(summaryShape),
  notices: v.array(text),
  lastUpdated: time,
})

export const providersAnswer = v.object({
  providers: v.array(v.object({ name: text, supported: v.boolean() })),
  fileRoot: text,
  fileRootExists: v.boolean(),
})
export const authCheckAnswer = v.object({
  authRef: text,
  provider: text,
  redactedTarget: text,
  valid: v.boolean(),
  issues: v.array(text),
  headerKeys: v.array(text),
  source: v.picklist(["environment", "file", "program", "login"]),
})
export const secretsAnswer = v.object({
  count: whole,
  items: v.array(v.object({ authRef: text, relativePath: text, updatedAt: text })),
})
export const secretSetAnswer = v.object({
  authRef: text,
  provider: v.literal("file"),
  path: text,
  written: v.literal(true),
})
export const secretDeletedAnswer = v.object({ authRef: text, provider: v.literal("file"), deleted: v.boolean() })
const bindingShape = v.object({ authRef: text, serviceId: text, origin: v.optional(text), boundAt: time })
export const bindingsAnswer = v.object({ items: v.array(bindingShape) })
export const bindingAnswer = v.object({ binding: bindingShape })
export const unboundAnswer = v.object({ authRef: text, serviceId: text, unbound: v.boolean() })
export const loginAnswer = v.object({
  login: v.object({
    id: text,
    serviceId: text,
    flow: v.picklist(["browser", "device", "client_credentials"]),
    state: v.picklist(["waiting", "done", "failed"]),
    url: v.optional(text),
    userCode: v.optional(text),
    issuer: v.optional(text),
    problem: v.optional(text),
    expiresAt: time,
  }),
})
export const loginsAnswer = v.object({
  items: v.array(
    v.object({
      serviceId: text,
      issuer: text,
      resource: text,
      scopes: v.array(text),
      expiresAt: v.optional(time),
      renewable: v.boolean(),
      problem: v.optional(text),
    }),
  ),
})
export const logoutAnswer = v.object({ serviceId: text, loggedOut: v.boolean() })
const tokenShape = v.object({
  name: text,
  scopes: v.array(v.picklist(["read", "call", "operate", "admin"])),
  reach: v.optional(v.array(text)),
  createdAt: time,
  expiresAt: v.optional(time),
  lastUsedAt: v.optional(time),
})
export const tokensAnswer = v.object({ items: v.array(tokenShape), total: whole })
export const tokenAnswer = v.object({ token: tokenShape })
export const tokenMadeAnswer = v.object({
  token: tokenShape,
  value: v.pipe(text, v.description("The token itself; shown this once.")),
})
export const callAnswer = v.object({ result: json })
