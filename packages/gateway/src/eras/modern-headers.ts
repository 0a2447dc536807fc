import { ClarityError, isJsonObject, type HeaderReader, type JsonObject, type Tool } from "@clarity-runtime/contracts"

/** The parameter a request's `Mcp-Name` header repeats (MCP 2026-07-28, Streamable HTTP, standard headers). */
const namedBy: Readonly<Record<string, string>> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
}

/** Headers that intermediaries route by must say what the body says. Throws `header_mismatch`. */
export function checkStandardHeaders(headers: HeaderReader, method: string, params: JsonObject): void {
  compare(headers, "Mcp-Method", method)
  const key = namedBy[method]
  if (key !== undefined && typeof params[key] === "string") compare(headers, "Mcp-Name", params[key])
}

/**
 * `Mcp-Param-<Name>` headers against the arguments that the tool's schema marks with `x-mcp-header`: strings as they
 * are, integers and booleans in their one spelling, absent or null arguments without a header.
 */
export function checkParameterHeaders(headers: HeaderReader, tool: Tool, args: unknown): void {
  for (const { header, path } of parametersOf(tool)) {
    const value = path.reduce<unknown>((inner, key) => (isJsonObject(inner) ? inner[key] : undefined), args)
    const name = `Mcp-Param-${header}`
    if (value === undefined || value === null) {
      if (headers.get(name) !== null) throw mismatch(name, "is sent although the argument is absent")
    } else if (typeof value === "string") {
      compare(headers, name, value)
    } else if (typeof value === "number") {
      const given = decodeHeaderValue(headers.get(name), name)
      if (given === undefined || !/^-?\d+(?:\.0+)?$/.test(given) || Number(given) !== value)
        throw mismatch(name, "differs from the body")
    } else {
      compare(headers, name, JSON.stringify(value))
    }
  }
}

const known = new WeakMap<Tool, readonly HeaderParameter[]>()

function parametersOf(tool: Tool): readonly HeaderParameter[] {
  let parameters = known.get(tool)
  if (parameters === undefined) known.set(tool, (parameters = headerParameters(tool["inputSchema"])))
  return parameters
}

export interface HeaderParameter {
  readonly header: string
  readonly path: readonly string[]
}

/** Properties reachable from the schema's root through `properties` alone that carry a valid annotation. */
export function headerParameters(schema: unknown, path: readonly string[] = []): HeaderParameter[] {
  if (!isJsonObject(schema) || !isJsonObject(schema["properties"]) || path.length > 16) return []
  return Object.entries(schema["properties"]).flatMap(([key, property]) => {
    if (!isJsonObject(property)) return []
    const header = property["x-mcp-header"]
    const own =
      typeof header === "string" && /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(header)
        ? [{ header, path: [...path, key] }]
        : []
    return [...own, ...headerParameters(property, [...path, key])]
  })
}

function compare(headers: HeaderReader, name: string, expected: string): void {
  const given = decodeHeaderValue(headers.get(name), name)
  if (given === undefined) throw mismatch(name, "is missing")
  if (given !== expected) throw mismatch(name, "differs from the body")
}

const looksEncoded = /^=\?base64\?.*\?=$/s
const sentinel = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/

function decodeHeaderValue(value: string | null, name: string): string | undefined {
  if (value === null) return undefined
  const trimmed = value.trim()
  // Only a value with both markers is encoded (MCP 2026-07-28, value encoding); anything else stands for itself.
  if (!looksEncoded.test(trimmed)) return trimmed
  const encoded = sentinel.exec(trimmed)?.[1]
  const bytes = encoded === undefined ? undefined : Buffer.from(encoded, "base64")
  if (bytes === undefined || bytes.toString("base64") !== encoded) throw mismatch(name, "is not valid Base64")
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    throw new ClarityError("header_mismatch", `the header ${name} is not valid UTF-8`, { cause: error })
  }
}

function mismatch(name: string, why: string): ClarityError {
  return new ClarityError("header_mismatch", `the header ${name} ${why}`, { data: { reason: why, header: name } })
}
