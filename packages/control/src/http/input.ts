import { ClarityError, isJsonObject } from "@clarity-runtime/contracts"
import { printable } from "../match.ts"
import type { InputSchema } from "../operation.ts"
import { snakeName } from "../schema.ts"

/** The loose pieces of a request that may carry inputs. */
export interface RequestParts {
  readonly path: Readonly<Record<string, string>>
  /** Name and value as they stand in the query; absent where the query is not looked at. */
  readonly query?: Iterable<readonly [string, string]>
  readonly body?: unknown
}

/**
 * Gathers the inputs of an operation under their camelCase names; snake_case is taken as well, one input given twice is
 * refused. Texts of a query become what the schema wants; a number there is held within its range, and one that is no
 * number counts as not given (0.9). Keys nobody knows are left in, for the schema to refuse by name.
 */
export function gatherInput(schema: InputSchema, parts: RequestParts): Record<string, unknown> {
  const keys = new Map<string, string>()
  for (const key of Object.keys(schema.entries)) keys.set(key, key).set(snakeName(key), key)
  const input: Record<string, unknown> = Object.create(null)
  const put = (name: string, value: unknown) => {
    const key = keys.get(name) ?? name
    if (key in input) throw new ClarityError("invalid_params", `${printable(name)} is given twice`)
    input[key] = value
  }
  for (const [name, value] of Object.entries(parts.path)) put(name, value)
  for (const [name, value] of parts.query ?? []) {
    const field = schema.entries[keys.get(name) ?? ""]
    const read = field === undefined ? value : fromText(field, value)
    if (read !== undefined) put(name, read)
  }
  if (parts.body !== undefined) {
    if (!isJsonObject(parts.body)) throw new ClarityError("invalid_params", "the body must be a JSON object")
    for (const [name, value] of Object.entries(parts.body)) put(name, value)
  }
  return input
}

function fromText(schema: unknown, text: string): unknown {
  const { type, min, max } = kindOf(schema)
  if (type === "boolean") return /^(1|true|yes|)$/i.test(text) ? true : /^(0|false|no)$/i.test(text) ? false : text
  if (type !== "number") return text
  const number = Math.floor(Number(text))
  if (text.trim() === "" || Number.isNaN(number)) return undefined
  return Math.min(max, Math.max(min, number))
}

interface Kind {
  readonly type: string
  readonly min: number
  readonly max: number
}

/** What a field holds in the end, through optionals and pipes. */
function kindOf(schema: unknown): Kind {
  let kind: Kind = { type: "unknown", min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }
  const look = (item: unknown) => {
    if (!isJsonObject(item)) return
    const { pipe, wrapped, type, requirement } = item
    if (Array.isArray(pipe))
      pipe.forEach((part) => look(part === item ? undefined : { ...(part as object), pipe: undefined }))
    else if (wrapped !== undefined) look(wrapped)
    else if (type === "number" || type === "boolean") kind = { ...kind, type }
    else if (type === "min_value") kind = { ...kind, min: Number(requirement) }
    else if (type === "max_value") kind = { ...kind, max: Number(requirement) }
  }
  look(schema)
  return kind
}
