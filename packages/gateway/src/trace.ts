import { randomBytes } from "node:crypto"
import { metaKeys, type HeaderReader, type JsonObject } from "@clarity-runtime/contracts"

/** W3C trace context as it arrived, in `_meta` (MCP 2026-07-28) or in headers; undefined keys are left out. */
export function traceOf(meta: JsonObject, headers: HeaderReader | undefined): Record<string, string> {
  const trace: Record<string, string> = {}
  for (const key of ["traceparent", "tracestate", "baggage"]) {
    const value = meta[key] ?? headers?.get(key)
    if (typeof value === "string" && value.length <= 8192 && /^[\x20-\x7e]*$/.test(value)) trace[key] = value
  }
  return trace
}

/** The run a caller says its call belongs to: a key for budgets, never proof of anything. */
export function runOf(meta: JsonObject, headers: HeaderReader | undefined): string | undefined {
  const run = meta[metaKeys.run] ?? headers?.get("x-clarity-run-id")
  return typeof run === "string" && /^[\x21-\x7e]{1,128}$/.test(run) ? run : undefined
}

const boot = randomBytes(6).toString("base64url")
let requests = 0

/** Names one call in errors and in the timeline; unique, not secret. */
export function requestId(): string {
  return `req_${boot}_${++requests}`
}

/** Unguessable: 128 random bits. */
export function freshId(prefix: string): string {
  return `${prefix}_${randomBytes(16).toString("base64url")}`
}
