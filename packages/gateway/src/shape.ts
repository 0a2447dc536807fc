import { canonicalJson, isJsonObject, shortHash, type JsonObject, type Tool } from "@clarity-runtime/contracts"
import type { Route } from "./route.ts"

const maxKeys = 32
const maxName = 64

/**
 * What arguments look like, without a value of theirs: names and types of the top level, how long a text is in bytes and
 * how many items a list or an object has. At most 32 keys; `more` says how many were left out.
 */
export function shapeOf(args: JsonObject): JsonObject[] {
  const shape: JsonObject[] = []
  let more = 0
  for (const key in args) {
    if (shape.length === maxKeys) more++
    else shape.push(describe(key.slice(0, maxName), args[key]))
  }
  return more === 0 ? shape : [...shape, { more }]
}

function describe(name: string, value: unknown): JsonObject {
  if (typeof value === "string") return { name, type: "string", bytes: Buffer.byteLength(value) }
  if (Array.isArray(value)) return { name, type: "array", items: value.length }
  if (isJsonObject(value)) return { name, type: "object", items: Object.keys(value).length }
  return { name, type: value === null ? "null" : typeof value }
}

const digests = new WeakMap<Tool, string>()

/** Digest of a tool's definition as its service gave it, the same on every endpoint; worked out once. */
export function digestOfTool({ tool, service, target }: Route): string | undefined {
  if (tool === undefined) return undefined
  let digest = digests.get(tool)
  if (digest === undefined) {
    const own = service.interface?.tools.find(({ name }) => name === target) ?? tool
    digests.set(tool, (digest = shortHash(canonicalJson(own))))
  }
  return digest
}
