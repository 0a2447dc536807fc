import {
  ClarityError,
  isJsonObject,
  parseManifest,
  serviceIdOf,
  type Interface,
  type JsonObject,
  type ServiceRecord,
} from "@clarity-runtime/contracts"
import { Damaged, type SealedContent } from "@clarity-runtime/state"
import { millisecondsOf, readLegacyRecord } from "./legacy-record.ts"

/** What `registry.json` says. */
export interface RegistryFile {
  readonly records: readonly ServiceRecord[]
  /** Records this program cannot read, as they are: written back with every save, tried again at every start. */
  readonly unreadable: readonly unknown[]
  readonly notices: readonly string[]
  /** Bodies a 0.9 file carried inside. */
  readonly interfaces: ReadonlyMap<string, Interface>
}

/**
 * Keys of a file without checksum: 0.9's, or one of ours edited by a person, who takes `generation` and `checksum` out
 * to say that the change is meant.
 */
export const unsealedKeys = ["version", "updatedAt", "services", "unreadable"] as const

/** Throws `Damaged` when the file as a whole makes no sense. A single bad record is kept aside and noted. */
export function decodeRegistry({ body }: SealedContent, now: number): RegistryFile {
  const { services, unreadable: earlier = [] } = body
  if (!Array.isArray(services) || !Array.isArray(earlier)) throw new Damaged("has no list of services")
  const written = millisecondsOf(body["updatedAt"], now)
  const records = new Map<string, ServiceRecord>()
  const interfaces = new Map<string, Interface>()
  const unreadable: unknown[] = []
  const notices: string[] = []

  for (const raw of [...services, ...earlier]) {
    try {
      const read = readRecord(raw, written)
      if (records.has(read.record.id)) throw new ClarityError("invalid_manifest", "its id is there twice")
      records.set(read.record.id, read.record)
      if (read.interface && read.record.interface) interfaces.set(read.record.interface.revision, read.interface)
    } catch (error) {
      if (!(error instanceof ClarityError)) throw error
      unreadable.push(raw)
      notices.push(`registry: ${nameOf(raw)} cannot be read and was kept aside: ${error.message}`)
    }
  }
  return { records: [...records.values()], unreadable, notices, interfaces }
}

/** The file's body, in 0.9's shape: manifest, runtime (what is wanted), interfaceSnapshot (where it is). */
export function encodeRegistry(
  records: readonly ServiceRecord[],
  unreadable: readonly unknown[],
  now: number,
): JsonObject {
  return {
    version: 1,
    updatedAt: iso(now),
    services: records.map(encodeRecord),
    ...(unreadable.length > 0 ? { unreadable } : {}),
  }
}

function encodeRecord(record: ServiceRecord): JsonObject {
  const { manifest, desired, quarantine, interface: face } = record
  return {
    manifest,
    runtime: {
      ...(desired ? { desired } : {}),
      ...(quarantine ? { quarantine: { reason: quarantine.reason, since: iso(quarantine.since) } } : {}),
      revision: record.revision,
      createdAt: iso(record.createdAt),
      updatedAt: iso(record.updatedAt),
    },
    ...(face
      ? {
          interfaceSnapshot: {
            interfaceRevision: face.revision,
            introspectedAt: iso(face.introspectedAt),
            ...(face.protocol ? { protocol: face.protocol } : {}),
          },
        }
      : {}),
  }
}

function readRecord(raw: unknown, now: number): { record: ServiceRecord; interface?: Interface } {
  if (!isJsonObject(raw)) throw new ClarityError("invalid_manifest", "it is no object")
  const runtime = isJsonObject(raw["runtime"]) ? raw["runtime"] : {}
  // Ours has a revision; 0.9's has not, even when it sits in a file of ours because it was kept aside.
  if (runtime["revision"] === undefined) return readLegacyRecord(raw, now)
  const manifest = parseManifest(raw["manifest"])
  const id = manifest.metadata.serviceId ?? serviceIdOf(manifest)
  const { desired, quarantine, revision } = runtime
  const createdAt = millisecondsOf(runtime["createdAt"], now)
  const record: ServiceRecord = {
    id,
    manifest,
    revision: Number.isSafeInteger(revision) ? Number(revision) : 1,
    ...(desired === "running" || desired === "stopped" ? { desired } : {}),
    ...(isJsonObject(quarantine)
      ? { quarantine: { reason: String(quarantine["reason"]), since: millisecondsOf(quarantine["since"], now) } }
      : {}),
    ...pointerOf(raw["interfaceSnapshot"], now),
    createdAt,
    updatedAt: millisecondsOf(runtime["updatedAt"], createdAt),
  }
  return { record }
}

function pointerOf(raw: unknown, now: number): Pick<ServiceRecord, "interface"> {
  if (!isJsonObject(raw) || typeof raw["interfaceRevision"] !== "string") return {}
  const { interfaceRevision: revision, protocol } = raw
  const verdict =
    isJsonObject(protocol) && Array.isArray(protocol["eras"]) && typeof protocol["version"] === "string"
      ? {
          protocol: {
            eras: (["legacy", "modern"] as const).filter((era) => (protocol["eras"] as unknown[]).includes(era)),
            version: protocol["version"],
            checkedAt: millisecondsOf(protocol["checkedAt"], now),
          },
        }
      : {}
  return { interface: { revision, introspectedAt: millisecondsOf(raw["introspectedAt"], now), ...verdict } }
}

/** For a person looking for it in the file: its id or module, never its content. */
function nameOf(raw: unknown): string {
  const manifest = isJsonObject(raw) ? raw["manifest"] : undefined
  const metadata = isJsonObject(manifest) ? manifest["metadata"] : undefined
  const name = isJsonObject(metadata) ? (metadata["serviceId"] ?? metadata["module"]) : undefined
  return typeof name === "string" ? `the record of ${JSON.stringify(name.slice(0, 80))}` : "a record"
}

function iso(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
