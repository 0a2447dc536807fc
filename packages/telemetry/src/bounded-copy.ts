import { isJsonObject, type JsonObject } from "@clarity-runtime/contracts"
import { oneLine } from "./one-line.ts"
import { isSecretName } from "./redact.ts"

const maxDepth = 6
const maxText = 4096
const cutMark = "[cut]"
const plainName = /^[A-Za-z0-9_.]{1,32}$/

/** True for field names that can be kept as they are. */
export function isPlainName(name: string): boolean {
  return plainName.test(name)
}

/** What one record may still cost, in bytes of JSON; counts down. */
export interface Budget {
  bytes: number
}

/** Bytes a text takes as JSON, at most. Exact for long ones. */
export function costOf(text: string): number {
  return text.length < 64 ? text.length * 3 + 2 : Buffer.byteLength(JSON.stringify(text))
}

/**
 * A copy of what somebody wants recorded, safe to keep: JSON only, no secrets, every text one line, never more than the
 * budget. What does not fit is cut and marked; a cycle ends at the depth limit. Throws only what a getter throws.
 */
export function boundedCopy(data: JsonObject, budget: Budget): JsonObject {
  return copyObject(data, budget, 0)
}

function copyObject(source: JsonObject, budget: Budget, depth: number): JsonObject {
  const copy: JsonObject = {}
  for (const key of Object.keys(source)) {
    if (key === "__proto__") continue
    const name = isPlainName(key) ? key : oneLine(key, 128)
    if (!spend(budget, costOf(name) + 2)) {
      copy[cutMark] = true
      break
    }
    const value = source[key]
    copy[name] =
      typeof value === "string" && isSecretName(key) ? copyText("[redacted]", budget) : copyValue(value, budget, depth)
  }
  return copy
}

function copyValue(value: unknown, budget: Budget, depth: number): unknown {
  switch (typeof value) {
    case "string":
      return copyText(value, budget)
    case "number":
      return spend(budget, 24) ? (Number.isFinite(value) ? value : String(value)) : null
    case "boolean":
      return spend(budget, 6) ? value : null
    case "bigint":
      return copyText(value.toString().slice(0, 64), budget)
    case "object":
      break
    default:
      return null
  }
  if (value === null) return null
  if (value instanceof Error) return copyText(value.message, budget)
  if (ArrayBuffer.isView(value)) return copyText(`[${value.byteLength} bytes]`, budget)
  if (depth >= maxDepth) return copyText(cutMark, budget)
  if (Array.isArray(value)) return copyArray(value, budget, depth + 1)
  return isJsonObject(value) ? copyObject(value, budget, depth + 1) : null
}

function copyArray(source: readonly unknown[], budget: Budget, depth: number): unknown[] {
  const copy: unknown[] = []
  for (const value of source) {
    if (!spend(budget, 6)) {
      copy.push(cutMark)
      break
    }
    copy.push(copyValue(value, budget, depth))
  }
  return copy
}

function copyText(text: string, budget: Budget): string {
  const line = oneLine(text, Math.max(8, Math.min(maxText, budget.bytes >> 1)))
  return spend(budget, costOf(line)) ? line : cutMark
}

/** False when it is used up; the little marks that tell of it fit into the reserve its owner keeps. */
function spend(budget: Budget, bytes: number): boolean {
  if (budget.bytes < bytes) {
    budget.bytes = 0
    return false
  }
  budget.bytes -= bytes
  return true
}
