import {
  emptyInterface,
  limitsOf,
  namespaceOf,
  type Interface,
  type LogLine,
  type ServiceRecord,
  type ServiceStatus,
} from "@clarity-runtime/contracts"
import type { ControlContext } from "../context.ts"
import { concealManifest, concealUrl } from "./conceal.ts"
import type { InterfaceAnswer, Service, Summary } from "./output.ts"

export const iso = (epochMs: number) => new Date(epochMs).toISOString()

/** What is known of one service: its record, and how it is, once the supervisor has seen it. */
export interface Known {
  readonly record: ServiceRecord
  readonly status: ServiceStatus | undefined
  readonly face: Interface | undefined
}

export function known(context: ControlContext, record: ServiceRecord): Known {
  const status = context.supervision.status(record.id)
  return { record, status, face: status?.interface ?? context.registry.interfaceOf(record.id) }
}

export function summaryOf({ record, status, face }: Known): Summary {
  const { metadata, spec } = record.manifest
  const { origin } = spec
  return {
    serviceId: record.id,
    displayName: metadata.displayName ?? null,
    sourceFile: concealUrl(metadata.sourceFile),
    module: metadata.module,
    serviceType: metadata.serviceType,
    agent: metadata.agent ?? null,
    originType: origin.type,
    namespace: status?.namespace ?? namespaceOf(record.manifest),
    ...state({ record, status }),
    uptimeSeconds: status?.uptimeSeconds ?? 0,
    restartCount: status?.restartCount ?? 0,
    policy: { restart: spec.restartPolicy, remote: origin.type === "remote_mcp" ? limitsShown(record) : null },
    interface:
      face === undefined
        ? null
        : {
            interfaceRevision: revisionOf(record, status) ?? "",
            introspectedAt: introspectedAt(record, status),
            stale: status?.stale ?? true,
            tools: face.tools.length,
            resources: face.resources.length,
            prompts: face.prompts.length,
          },
  }
}

export function serviceOf({ record, status, face }: Known): Service {
  const { manifest, quarantine } = record
  const { reason, hint, ...now } = state({ record, status })
  const revision = revisionOf(record, status)
  return {
    serviceId: record.id,
    namespace: status?.namespace ?? namespaceOf(manifest),
    revision: record.revision,
    createdAt: iso(record.createdAt),
    updatedAt: iso(record.updatedAt),
    manifest: concealManifest({ ...manifest, metadata: { ...manifest.metadata, serviceId: record.id } }),
    runtime: {
      ...now,
      desired:
        status?.desired ?? record.desired ?? (manifest.spec.enabled && manifest.spec.autostart ? "running" : "stopped"),
      enabled: manifest.spec.enabled,
      autostart: manifest.spec.autostart,
      uptimeSeconds: status?.uptimeSeconds ?? 0,
      restartCount: status?.restartCount ?? 0,
      instances: status?.instances ?? 0,
      ...(status?.pid === undefined ? {} : { pid: status.pid }),
      ...(status?.rssBytes === undefined ? {} : { rssBytes: status.rssBytes }),
      ...(reason === null ? {} : { lastError: reason }),
      ...(hint === null ? {} : { hint }),
      ...(status?.lastHeartbeatAt === undefined ? {} : { lastHeartbeatAt: iso(status.lastHeartbeatAt) }),
      ...(status?.nextAttemptAt === undefined ? {} : { nextAttemptAt: iso(status.nextAttemptAt) }),
      ...(quarantine === undefined ? {} : { quarantine: { reason: quarantine.reason, since: iso(quarantine.since) } }),
    },
    ...(face === undefined || revision === null
      ? {}
      : {
          interfaceSnapshot: {
            interfaceRevision: revision,
            introspectedAt: introspectedAt(record, status),
            stale: status?.stale ?? true,
          },
        }),
  }
}

export function interfaceAnswerOf({ record, status, face }: Known): InterfaceAnswer {
  const { tools, resources, resourceTemplates, prompts, instructions, serverInfo, protocol, rejected } =
    face ?? emptyInterface
  return {
    serviceId: record.id,
    interfaceRevision: face === undefined ? null : revisionOf(record, status),
    introspectedAt: introspectedAt(record, status),
    stale: status?.stale ?? true,
    tools: [...tools],
    resources: [...resources],
    resourceTemplates: [...resourceTemplates],
    prompts: [...prompts],
    ...(instructions === undefined ? {} : { instructions }),
    ...(serverInfo === undefined ? {} : { serverInfo }),
    ...(protocol === undefined ? {} : { protocol: { ...protocol, checkedAt: iso(protocol.checkedAt) } }),
    ...(rejected === undefined ? {} : { rejected: [...rejected] }),
  }
}

/** A log line as one line of text: `[2026-01-01T00:00:00.000Z] stderr: words`. */
export function lineOf({ at, stream, text }: LogLine): string {
  return `[${at}] ${stream}: ${text}`
}

function state({
  record,
  status,
}: Pick<Known, "record" | "status">): Pick<Summary, "lifecycle" | "health" | "reason" | "hint"> {
  if (status === undefined) {
    const lifecycle = record.quarantine === undefined ? "REGISTERED" : "QUARANTINED"
    return { lifecycle, health: "UNKNOWN", reason: record.quarantine?.reason ?? null, hint: null }
  }
  return {
    lifecycle: status.lifecycle,
    health: status.health,
    reason: status.reason ?? null,
    hint: status.hint ?? null,
  }
}

function revisionOf(record: ServiceRecord, status: ServiceStatus | undefined): string | null {
  return status?.revision ?? record.interface?.revision ?? null
}

function introspectedAt(record: ServiceRecord, status: ServiceStatus | undefined): string | null {
  const at = status?.introspectedAt ?? record.interface?.introspectedAt
  return at === undefined ? null : iso(at)
}

function limitsShown(record: ServiceRecord): NonNullable<Summary["policy"]["remote"]> {
  const { timeoutMs, allowedTools, maxPayloadBytes, maxConcurrency } = limitsOf(record.manifest)
  return {
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(allowedTools === undefined ? {} : { allowedTools: [...allowedTools] }),
    ...(maxPayloadBytes === undefined ? {} : { maxPayloadBytes }),
    ...(maxConcurrency === undefined ? {} : { maxConcurrency }),
  }
}
