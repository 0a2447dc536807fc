import * as v from "valibot"

/**
 * The manifest of a service, `clarity.runtime/v1`. One definition: types, validation and
 * `schemas/mcp-service-v1.schema.json` come from it. Unknown keys are refused, so a typing mistake is told, not ignored.
 */

/** A schema with the words that its readers find in the JSON Schema and in their editor. */
export function said<S extends v.GenericSchema>(words: string, schema: S) {
  return v.pipe(schema, v.description(words))
}

const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max))
const count = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max))
const noNul = v.regex(/^[^\0]*$/, "must not contain NUL")
const path = v.pipe(text(4096), noNul)
const noSecretsInUrl = v.check((url: string) => {
  const parsed = URL.parse(url)
  return parsed === null || (parsed.username === "" && parsed.password === "" && parsed.hash === "")
}, "must not contain credentials or a fragment")

const environmentName = v.pipe(text(256), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a variable name"))
const environmentEntry = v.union([
  v.strictObject({ name: environmentName, value: v.pipe(v.string(), v.maxLength(32_768), noNul) }),
  v.strictObject({ name: environmentName, secretRef: text(512) }),
])
const environment = v.pipe(v.array(environmentEntry), v.maxLength(256))

const limitEntries = {
  timeoutMs: v.optional(said("Milliseconds a call may take without a sign of life.", count(1, 3_600_000))),
  allowedTools: v.optional(
    said(
      "Tools that may be listed and called, by the service's own names; absent: all.",
      v.pipe(v.array(text(128)), v.maxLength(2048)),
    ),
  ),
  maxPayloadBytes: v.optional(said("Bytes of one request and of one answer.", count(1024, 67_108_864))),
  maxConcurrency: v.optional(said("Calls in flight at the service; more wait their turn.", count(1, 1024))),
}

export const localWasmOrigin = v.strictObject({
  type: v.literal("local_wasm"),
  wasmPath: path,
  entry: v.optional(text(256), "mcp_main"),
  args: v.optional(v.pipe(v.array(v.string()), v.maxLength(256))),
  env: v.optional(environment),
})

export const localStdioOrigin = v.strictObject({
  type: v.literal("local_stdio"),
  command: said("Program to run: a name looked up on PATH or a path. Never a shell line.", path),
  args: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(32_768), noNul)), v.maxLength(512))),
  env: v.optional(environment),
  cwd: v.optional(path),
})

export const remoteMcpOrigin = v.strictObject({
  type: v.literal("remote_mcp"),
  endpoint: v.pipe(text(4096), v.url(), v.regex(/^https?:\/\//i, "must be an http or https URL"), noSecretsInUrl),
  transport: v.optional(v.picklist(["streamable_http", "sse_http"]), "streamable_http"),
  authRef: v.optional(text(512)),
  ...limitEntries,
})

export const originSchema = v.variant("type", [localWasmOrigin, localStdioOrigin, remoteMcpOrigin])

const restartPolicy = v.strictObject({
  mode: v.picklist(["never", "on-failure", "always"]),
  maxRestarts: said(
    "Failures inside the window after which the service is quarantined; 0 switches quarantine off.",
    count(0, 1000),
  ),
  windowSeconds: count(1, 86_400),
})

/** Agents get their own room later; until then their descriptor is carried along as it is. */
const agentDescriptor = v.looseObject({
  agentId: text(256),
  name: text(256),
  role: text(4096),
  objective: text(16_384),
  triggers: v.optional(v.pipe(v.array(v.picklist(["timer", "event", "api", "a2a"])), v.maxLength(4))),
})

const metadata = v.strictObject({
  sourceFile: v.pipe(v.string(), v.maxLength(4096), noNul),
  module: v.pipe(text(256), noNul),
  serviceType: v.optional(v.picklist(["mcp", "agent"]), "mcp"),
  serviceId: v.optional(
    v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9_-]{0,63}$/, "must match [a-z0-9][a-z0-9_-]{0,63}")),
  ),
  displayName: v.optional(text(256)),
  workspaceRoot: v.optional(v.pipe(v.string(), v.maxLength(4096))),
  version: v.optional(text(128)),
  artifactSha256: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "must be 64 hex digits"))),
  agent: v.optional(v.nullable(agentDescriptor)),
  createdAt: v.optional(text(64)),
  updatedAt: v.optional(text(64)),
})

const spec = v.strictObject({
  origin: originSchema,
  enabled: v.optional(said("The service should be running.", v.boolean()), true),
  autostart: v.optional(said("Start with the daemon; otherwise only when a person starts it.", v.boolean()), true),
  restartPolicy: v.optional(restartPolicy, { mode: "on-failure", maxRestarts: 5, windowSeconds: 60 }),
  policyRef: v.optional(text(256), "default"),
  toolNamespace: v.optional(text(64)),
  start: v.optional(
    said(
      "'eager': running as soon as it is wanted. 'lazy': started by its first call, stopped when idle.",
      v.picklist(["eager", "lazy"]),
    ),
    "eager",
  ),
  isolation: v.optional(
    said(
      "Who shares one upstream process or session: everybody, each principal, or each client session.",
      v.picklist(["shared", "principal", "session"]),
    ),
    "shared",
  ),
  era: v.optional(
    said(
      "The protocol era spoken upstream: probe, one of the two, or the caller's own where the upstream has both.",
      v.picklist(["match", "auto", "legacy", "modern"]),
    ),
    "match",
  ),
  prefix: v.optional(
    said(
      "When the names of this service carry its namespace on the common endpoint.",
      v.picklist(["always", "on-collision"]),
    ),
    "always",
  ),
  limits: v.optional(v.strictObject(limitEntries)),
  recycle: v.optional(
    said(
      "When an instance is replaced or stopped between calls.",
      v.strictObject({
        idleSeconds: v.optional(count(1, 604_800)),
        maxAgeSeconds: v.optional(count(1, 2_592_000)),
        maxMemoryMb: v.optional(count(16, 1_048_576)),
      }),
    ),
  ),
})

export const manifestSchema = v.strictObject({
  apiVersion: v.literal("clarity.runtime/v1"),
  kind: v.literal("MCPService"),
  metadata,
  spec,
})

/** A manifest as the runtime holds it: defaults filled in. */
export type ServiceManifest = v.InferOutput<typeof manifestSchema>
/** A manifest as a person writes it. */
export type ServiceManifestInput = v.InferInput<typeof manifestSchema>
export type Origin = v.InferOutput<typeof originSchema>
export type OriginType = Origin["type"]
export type OriginOf<T extends OriginType> = Extract<Origin, { type: T }>
export type EnvironmentEntry = v.InferOutput<typeof environmentEntry>
export type RestartPolicy = v.InferOutput<typeof restartPolicy>

/** Limits of a service whatever its origin: `spec.limits`, then what a remote origin carries itself (0.9's place for them). */
export interface ServiceLimits {
  readonly timeoutMs?: number | undefined
  readonly allowedTools?: readonly string[] | undefined
  readonly maxPayloadBytes?: number | undefined
  readonly maxConcurrency?: number | undefined
}

export function limitsOf(manifest: ServiceManifest): ServiceLimits {
  const { origin, limits } = manifest.spec
  if (origin.type !== "remote_mcp") return limits ?? {}
  const { timeoutMs, allowedTools, maxPayloadBytes, maxConcurrency } = origin
  return { timeoutMs, allowedTools, maxPayloadBytes, maxConcurrency, ...limits }
}
