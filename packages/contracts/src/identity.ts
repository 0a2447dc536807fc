import { createHash } from "node:crypto"
import type { ServiceManifest } from "./manifest.ts"

/** First 12 hex digits of SHA-256 over the UTF-8 text. */
export function shortHash(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex").slice(0, 12)
}

/**
 * `svc_` + 12 hex over where the service comes from, never over its content: the same inputs give the same id on
 * every machine, and a rebuilt module keeps its id. Compatible with ids made by 0.9.
 */
export function serviceIdOf(manifest: ServiceManifest): string {
  const { metadata, spec } = manifest
  const { origin } = spec
  if (origin.type === "local_wasm")
    return `svc_${shortHash(`${metadata.sourceFile}|${metadata.module}|${origin.wasmPath}`)}`
  if (origin.type === "remote_mcp")
    return `svc_${shortHash(`${origin.endpoint}|${metadata.module}|${origin.endpoint}`)}`
  const command = JSON.stringify([origin.command, ...(origin.args ?? [])])
  return `svc_${shortHash(`${command}|${metadata.module}|${origin.cwd ?? ""}`)}`
}

/**
 * The prefix of a service's names: `spec.toolNamespace` or the module, lower-cased, everything outside `[a-z0-9_]`
 * and every run of underscores to one `_`, outer ones cut, empty to `service`. Never contains `__`.
 */
export function namespaceOf(manifest: ServiceManifest): string {
  const raw = manifest.spec.toolNamespace ?? manifest.metadata.module
  const slug = raw
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, "_")
    .replace(/_{2,}/g, "_")
    .replace(/^_|_$/g, "")
  return slug === "" ? "service" : slug
}

/** Namespaces the runtime's own tools live under; no service may take them. */
export const reservedNamespaces: ReadonlySet<string> = new Set(["runtime", "clarity"])
