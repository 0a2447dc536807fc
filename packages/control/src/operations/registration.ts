import {
  asClarityError,
  canonicalJson,
  ClarityError,
  hostAllowed,
  parseManifest,
  type ServiceManifest,
} from "@clarity-runtime/contracts"
import * as v from "valibot"
import type { ControlContext, OperationCaller } from "../context.ts"
import { requireService } from "../match.ts"
import { changes, defineOperation } from "../operation.ts"
import { count, jsonObject, text } from "../shapes/input.ts"
import { serviceAnswer } from "../shapes/output.ts"
import { serviceOf } from "../shapes/present.ts"

const launch = {
  startNow: v.optional(v.pipe(v.boolean(), v.description("Wait until it runs or has failed.")), false),
  introspect: v.optional(v.pipe(v.boolean(), v.description("Ask a running service anew what it offers.")), false),
}
const waiting = { startNow: true, introspect: true }

const common = {
  sourceFile: v.optional(v.string()),
  module: v.optional(text(256)),
  displayName: v.optional(text(256)),
  serviceType: v.optional(v.picklist(["mcp", "agent"])),
  agentDescriptor: v.optional(jsonObject),
  toolNamespace: v.optional(text(64)),
  autostart: v.optional(v.boolean()),
  enabled: v.optional(v.boolean()),
  ...launch,
}

/** Bringing services in. A manifest is checked whole before anything of it is stored. */
export const registration = {
  applyManifest: defineOperation({
    title: "Apply manifest",
    summary: "Registers a service by its manifest, or replaces the manifest it has.",
    input: v.strictObject({
      manifest: v.pipe(jsonObject, v.description("`clarity.runtime/v1`, kind `MCPService`.")),
      ...launch,
    }),
    output: serviceAnswer,
    scope: "admin",
    route: "applyManifest",
    tool: { name: "apply_manifest", gated: true, defaults: waiting, annotations: changes },
    run: (context, { manifest, ...how }, caller) => apply(context, parseManifest(manifest), how, caller),
  }),

  registerLocal: defineOperation({
    title: "Register local module",
    summary: "Registers a WebAssembly module made by the Clarity compiler.",
    input: v.strictObject({ wasmPath: text(4096), entry: v.optional(text(256)), ...common }),
    output: serviceAnswer,
    scope: "admin",
    tool: { name: "register_local", gated: true, defaults: waiting, annotations: changes },
    run(context, { wasmPath, entry, ...input }, caller) {
      const module = input.module ?? baseName(wasmPath)
      const origin = { type: "local_wasm", wasmPath, ...(entry === undefined ? {} : { entry }) }
      return apply(
        context,
        manifestOf(input, { module, sourceFile: input.sourceFile ?? wasmPath, origin }),
        input,
        caller,
      )
    },
  }),

  registerRemote: defineOperation({
    title: "Register remote server",
    summary: "Registers an MCP server reached over HTTP.",
    input: v.strictObject({
      endpoint: text(4096),
      authRef: v.optional(text(512)),
      transport: v.optional(v.picklist(["streamable_http", "sse_http"])),
      timeoutMs: v.optional(count(1, 3_600_000)),
      maxPayloadBytes: v.optional(count(1024, 67_108_864)),
      maxConcurrency: v.optional(count(1, 1024)),
      allowedTools: v.optional(v.pipe(v.array(text(128)), v.maxLength(2048))),
      ...common,
    }),
    output: serviceAnswer,
    scope: "admin",
    tool: { name: "register_remote", gated: true, defaults: waiting, annotations: { ...changes, openWorldHint: true } },
    run(context, input, caller) {
      const { endpoint, authRef, transport, timeoutMs, maxPayloadBytes, maxConcurrency, allowedTools } = input
      const settings = { authRef, transport, timeoutMs, maxPayloadBytes, maxConcurrency, allowedTools }
      const origin = { type: "remote_mcp", endpoint, ...present(settings) }
      const module = input.module ?? URL.parse(endpoint)?.hostname ?? "remote"
      return apply(
        context,
        manifestOf(input, { module, sourceFile: input.sourceFile ?? endpoint, origin }),
        input,
        caller,
      )
    },
  }),

  registerViaUrl: defineOperation({
    title: "Register by URL",
    summary: "Fetches a manifest and registers the service it describes.",
    input: v.strictObject({ url: v.pipe(text(4096), v.description("http or https URL of a manifest.")), ...launch }),
    output: serviceAnswer,
    scope: "admin",
    tool: {
      name: "register_via_url",
      gated: true,
      defaults: waiting,
      annotations: { ...changes, openWorldHint: true },
    },
    async run(context, { url, ...how }, caller) {
      if (context.fetchManifest === undefined) {
        throw new ClarityError("policy_denied", "registering by URL is switched off here")
      }
      checkHost(context, url, "url")
      return apply(context, parseManifest(await context.fetchManifest(url, caller.signal)), how, caller)
    },
  }),
}

interface How {
  readonly startNow: boolean
  readonly introspect: boolean
}

async function apply(context: ControlContext, manifest: ServiceManifest, how: How, caller: OperationCaller) {
  if (manifest.spec.origin.type === "remote_mcp") checkHost(context, manifest.spec.origin.endpoint, "endpoint")
  const before = context.registry.snapshot().services
  const record = await context.registry.put(manifest)
  const old = before.get(record.id)
  context.telemetry.record({
    kind: "control.apply",
    level: "info",
    message: `${manifest.metadata.module} ${old === undefined ? "registered" : "applied again"} by ${caller.principal.id}`,
    serviceId: record.id,
    data: { principal: caller.principal.id, revision: record.revision, origin: manifest.spec.origin.type },
  })
  if (how.startNow) {
    const same = old !== undefined && canonicalJson(old.manifest) === canonicalJson(record.manifest)
    await launchService(context, record.id, old === undefined || same ? "start" : "restart")
  }
  const reached = context.supervision.status(record.id)
  if (how.introspect && !how.startNow && reached?.lifecycle === "RUNNING")
    await context.supervision.introspect(record.id)
  return { service: serviceOf(requireService(context, record.id)) }
}

/** The registration stands even where the service cannot be started; its state says why. */
async function launchService(context: ControlContext, id: string, how: "start" | "restart"): Promise<void> {
  try {
    await context.supervision[how](id)
  } catch (thrown) {
    const error = asClarityError(thrown)
    if (error.code !== "conflict" && error.code !== "unavailable") throw error
  }
}

function checkHost(context: ControlContext, url: string, what: string): void {
  if (hostAllowed(context.settings.allowedHosts, url)) return
  const host = URL.parse(url)?.hostname ?? "unknown"
  throw new ClarityError("policy_denied", `${what} host '${host}' is not in CLARITY_REMOTE_ALLOWED_HOSTS`)
}

interface Common extends How {
  readonly displayName?: string | undefined
  readonly serviceType?: "mcp" | "agent" | undefined
  readonly agentDescriptor?: Record<string, unknown> | undefined
  readonly toolNamespace?: string | undefined
  readonly autostart?: boolean | undefined
  readonly enabled?: boolean | undefined
}

function manifestOf(
  { displayName, serviceType, agentDescriptor, toolNamespace, autostart, enabled }: Common,
  { module, sourceFile, origin }: { module: string; sourceFile: string; origin: object },
): ServiceManifest {
  return parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile, module, ...present({ displayName, serviceType, agent: agentDescriptor }) },
    spec: { origin, ...present({ toolNamespace, autostart, enabled }) },
  })
}

/** The entries that were given; absent and `undefined` are the same to a caller, not to a schema. */
function present(entries: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined))
}

function baseName(path: string): string {
  return path.replace(/^.*[\\/]/, "").replace(/\.wasm$/i, "") || "module"
}
