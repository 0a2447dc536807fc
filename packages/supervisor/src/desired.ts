import { canonicalJson, type ServiceManifest, type ServiceRecord } from "@clarity-runtime/contracts"

/** What a service should be, and in words why when that is not running. */
export type Wanted =
  | { readonly level: "running" }
  | { readonly level: "stopped"; readonly reason: string; readonly hint: string }
  | { readonly level: "quarantined"; readonly reason: string; readonly hint: string }

/** Reads what a service should be from its record. Disabled wins over everything, quarantine over running. */
export function wantedOf(record: ServiceRecord): Wanted {
  const { enabled, autostart } = record.manifest.spec
  if (record.quarantine !== undefined)
    return {
      level: "quarantined",
      reason: record.quarantine.reason,
      hint: "mend the cause, then unquarantine the service",
    }
  if (!enabled)
    return { level: "stopped", reason: "disabled in its manifest", hint: "set spec.enabled to true and apply it again" }
  if (record.desired === "stopped") return { level: "stopped", reason: "stopped by an operator", hint: "start it" }
  if (record.desired === "running" || autostart) return { level: "running" }
  return { level: "stopped", reason: "its manifest says autostart: false", hint: "start it" }
}

/** What operators read as `desired`: quarantine hinders, it is not a wish. */
export function desiredOf(record: ServiceRecord): "running" | "stopped" {
  const { enabled, autostart } = record.manifest.spec
  return enabled && (record.desired ?? (autostart ? "running" : "stopped")) === "running" ? "running" : "stopped"
}

/**
 * What an instance is made from: while this text stays the same a changed manifest needs no new generation. Limits are
 * policy's and come with every call; recycling, restarts and names are read when they are needed.
 */
export function generationKey(manifest: ServiceManifest): string {
  const { origin, isolation, era } = manifest.spec
  const { artifactSha256 } = manifest.metadata
  if (origin.type !== "remote_mcp") return canonicalJson({ origin, isolation, era, artifactSha256 })
  const { type, endpoint, transport, authRef } = origin
  return canonicalJson({ origin: { type, endpoint, transport, authRef }, isolation, era, artifactSha256 })
}
