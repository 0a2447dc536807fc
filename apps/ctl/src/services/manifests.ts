import { basename, extname } from "node:path"
import { ClarityError, type JsonObject } from "@clarity-runtime/contracts"
import { listOf, type RemoteOptions, type ServiceOptions } from "./service-flags.ts"

/** Manifests as this program writes them; the daemon checks them and fills in the rest. */

export function remoteManifest(endpoint: string, options: ServiceOptions & RemoteOptions): JsonObject {
  const module = options.module ?? options.name ?? URL.parse(endpoint)?.hostname ?? "remote"
  return manifestOf(
    options,
    { module, sourceFile: endpoint },
    {
      type: "remote_mcp",
      endpoint,
      authRef: options["auth-ref"],
      transport: options.transport,
      timeoutMs: options["timeout-ms"],
      allowedTools: listOf(options["allow-tools"]),
      maxPayloadBytes: options["max-payload-bytes"],
      maxConcurrency: options["max-concurrency"],
    },
  )
}

export interface Module {
  readonly module: string
  /** Absolute. */
  readonly sourceFile: string
  readonly wasmPath: string
  readonly sha256: string
}

export function moduleManifest(
  { module, sourceFile, wasmPath, sha256 }: Module,
  options: ServiceOptions & { readonly entry?: string | undefined; readonly env?: readonly string[] | undefined },
): JsonObject {
  const origin = { type: "local_wasm", wasmPath, entry: options.entry, env: variables(options.env) }
  return manifestOf(options, { module, sourceFile, artifactSha256: sha256 }, origin)
}

export function commandManifest(
  [command = "", ...args]: readonly string[],
  options: ServiceOptions & { readonly env?: readonly string[] | undefined; readonly cwd?: string | undefined },
): JsonObject {
  const module = options.module ?? options.name ?? baseName(command)
  const origin = { type: "local_stdio", command, args, env: variables(options.env), cwd: options.cwd }
  return manifestOf(options, { module, sourceFile: `command:${command}` }, origin)
}

export function baseName(path: string): string {
  return basename(path, extname(path))
}

function manifestOf(options: ServiceOptions, metadata: JsonObject, origin: JsonObject): JsonObject {
  const serviceType = options["service-type"]
  const agent = serviceType === "agent" ? agentOf(options, String(metadata["module"])) : undefined
  return {
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: present({ ...metadata, serviceType, displayName: options.name, agent }),
    spec: present({
      origin: present(origin),
      toolNamespace: options.namespace,
      isolation: options.isolation,
      start: options.lazy === true ? "lazy" : undefined,
    }),
  }
}

function agentOf({ agent: given = {}, name }: ServiceOptions, module: string): JsonObject {
  return present({
    agentId: given["agent-id"] ?? module,
    name: given["agent-name"] ?? name ?? module,
    role: given["agent-role"],
    objective: given["agent-objective"],
    inputs: listOf(given["agent-inputs"]),
    outputs: listOf(given["agent-outputs"]),
    allowedMcpTools: listOf(given["agent-mcp-tools"]),
    allowedLlmProviders: listOf(given["agent-llm-providers"]),
    handoffTargets: listOf(given["agent-handoff-targets"]),
    dependsOn: listOf(given["agent-depends-on"]),
    triggers: listOf(given["agent-triggers"]),
    version: given["agent-version"],
    hitl: given["agent-hitl"] === true ? true : undefined,
  })
}

function variables(entries: readonly string[] | undefined): JsonObject[] | undefined {
  return entries?.map((entry) => {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(entry) ?? []
    if (name === undefined || value === undefined) {
      throw new ClarityError("invalid_params", `--env wants NAME=VALUE or NAME=secret:REF, not ${entry.slice(0, 100)}`)
    }
    return value.startsWith("secret:") ? { name, secretRef: value.slice("secret:".length) } : { name, value }
  })
}

function present(entries: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined))
}
