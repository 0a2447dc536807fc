import {
  emptyInterface,
  interfaceRevision,
  isJsonObject,
  manifestSchema,
  parseManifest,
  serviceIdOf,
  type Interface,
  type JsonObject,
  type ServiceManifest,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import * as v from "valibot"
import { interfaceFrom } from "./interface-files.ts"

/**
 * A record of a 0.9 registry: `{manifest, runtime: {lifecycle, health, enabled, ...}, interfaceSnapshot}`. Health and
 * process figures are dropped; STOPPED and `enabled: false` become "stopped", QUARANTINED a quarantine.
 * Throws ClarityError `invalid_manifest`.
 */
export function readLegacyRecord(raw: JsonObject, now: number): { record: ServiceRecord; interface?: Interface } {
  const manifest = readLegacyManifest(raw["manifest"])
  const id = manifest.metadata.serviceId ?? serviceIdOf(manifest)
  const runtime = isJsonObject(raw["runtime"]) ? raw["runtime"] : {}
  const quarantined = runtime["lifecycle"] === "QUARANTINED"
  const stopped = runtime["lifecycle"] === "STOPPED" || runtime["enabled"] === false
  const seen = legacyInterface(raw["interfaceSnapshot"], now)
  const createdAt = millisecondsOf(manifest.metadata.createdAt, now)
  const reason = typeof runtime["lastError"] === "string" ? runtime["lastError"].slice(0, 4096) : "quarantined by 0.9"

  const record: ServiceRecord = {
    id,
    manifest: { ...manifest, metadata: { ...manifest.metadata, serviceId: id } },
    revision: 1,
    ...(stopped ? { desired: "stopped" as const } : {}),
    ...(quarantined ? { quarantine: { reason, since: millisecondsOf(runtime["lastHeartbeatAt"], now) } } : {}),
    ...(seen ? { interface: seen.pointer } : {}),
    createdAt,
    updatedAt: millisecondsOf(manifest.metadata.updatedAt, createdAt),
  }
  return seen ? { record, interface: seen.face } : { record }
}

/** 0.9 kept keys it did not know and nulls; both are left out here, and only here. */
function readLegacyManifest(raw: unknown): ServiceManifest {
  const manifest: unknown = structuredClone(raw)
  for (let rounds = 0; rounds < 1000; rounds++) {
    const { issues = [] } = v.safeParse(manifestSchema, manifest)
    if (issues.filter(drop).length === 0) break
  }
  return parseManifest(manifest)
}

/** Takes out of the input what this issue is about, if leaving it out may help. */
function drop(issue: v.BaseIssue<unknown>): boolean {
  const last = issue.path?.at(-1)
  if (last === undefined) return false
  if (issue.type === "union" && isJsonObject(issue.input)) return dropStrangers(issue.input)
  const holder = last.input
  if (!isJsonObject(holder) || (issue.expected !== "never" && issue.received !== "null")) return false
  return delete holder[String(last.key)]
}

/** The one union in a manifest is an environment entry. */
function dropStrangers(entry: JsonObject): boolean {
  const strangers = Object.keys(entry).filter((key) => !["name", "value", "secretRef"].includes(key))
  for (const key of strangers) delete entry[key]
  return strangers.length > 0
}

function legacyInterface(
  raw: unknown,
  now: number,
): { face: Interface; pointer: NonNullable<ServiceRecord["interface"]> } | undefined {
  const listed = interfaceFrom(raw)
  if (listed === undefined || !isJsonObject(raw)) return undefined
  const { tools, resources, prompts } = listed
  const face: Interface = {
    ...emptyInterface,
    tools,
    resources,
    prompts,
    capabilities: {
      ...(tools.length > 0 ? { tools: {} } : {}),
      ...(resources.length > 0 ? { resources: {} } : {}),
      ...(prompts.length > 0 ? { prompts: {} } : {}),
    },
  }
  const introspectedAt = millisecondsOf(raw["introspectedAt"], now)
  return { face, pointer: { revision: interfaceRevision(face), introspectedAt } }
}

/** A time as 0.9 or we wrote it, as epoch milliseconds. */
export function millisecondsOf(value: unknown, otherwise: number): number {
  const time = typeof value === "string" ? Date.parse(value) : typeof value === "number" ? value : Number.NaN
  return Number.isFinite(time) ? Math.trunc(time) : otherwise
}
