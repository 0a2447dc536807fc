import { isJsonObject } from "@clarity-runtime/contracts"
import type { Plain } from "./guest/values.ts"
import { isNullable, type ClarityType, type Field, type FunctionSignature } from "./types.ts"

/** A wrong argument; the message names the place and what is expected, for the model that called. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError"
}

const smallest = -(2n ** 63n)
const largest = 2n ** 63n - 1n

/**
 * Checks a call's arguments against the signature, once and strictly, and gives them in order in the form a worker
 * wants. Throws ArgumentError naming the argument.
 */
export function checkArguments(signature: FunctionSignature, given: unknown): readonly Plain[] {
  if (given !== undefined && !isJsonObject(given)) throw new ArgumentError("the arguments must be an object")
  return checkFields(signature.params, given ?? {}, "")
}

function checkFields(fields: readonly Field[], given: Record<string, unknown>, path: string): readonly Plain[] {
  const values = fields.map(({ name, type }) => {
    const place = path === "" ? name : `${path}.${name}`
    if (Object.hasOwn(given, name)) return check(type, given[name], place)
    if (type.kind === "Option") return []
    throw new ArgumentError(`${place} is missing: expected ${expected(type)}`)
  })
  const known = fields.filter(({ name }) => Object.hasOwn(given, name)).length
  if (Object.keys(given).length > known) {
    const stranger = Object.keys(given).find((key) => !fields.some(({ name }) => name === key)) ?? ""
    const names = fields.map(({ name }) => name).join(", ")
    const there = names === "" ? "there are none" : `there is ${names}`
    const where = path === "" ? "argument" : `field of ${path}`
    throw new ArgumentError(`${JSON.stringify(stranger.slice(0, 80))} is not a known ${where}: ${there}`)
  }
  return values
}

function check(type: ClarityType, value: unknown, path: string): Plain {
  switch (type.kind) {
    case "Int64":
      return wholeNumber(value, path, "Int64")
    case "Timestamp":
      return instant(value, path)
    case "Float64":
      return float(value, path)
    case "Bool":
      if (typeof value !== "boolean") throw wrong(type, path)
      return value
    case "String":
      if (typeof value !== "string") throw wrong(type, path)
      return value
    case "Bytes":
      return bytes(value, path)
    case "Unit":
      if (value !== null) throw wrong(type, path)
      return null
    case "List":
      if (!Array.isArray(value)) throw wrong(type, path)
      return value.map((item, index) => check(type.element, item, `${path}[${index}]`))
    case "Record":
      if (!isObject(value)) throw wrong(type, path)
      return checkFields(type.fields, value, path)
    case "Option": {
      if (value === null) return []
      if (!isNullable(type.inner)) return [check(type.inner, value, path)]
      return [only(value, "some", type, path, type.inner)]
    }
    case "Result": {
      if (!isObject(value)) throw wrong(type, path)
      if (Object.hasOwn(value, "ok")) return [0, only(value, "ok", type, path, type.ok)]
      return [1, only(value, "err", type, path, type.err)]
    }
    case "Union":
      return union(type, value, path)
    case "Map": {
      if (!isObject(value)) throw wrong(type, path)
      return Object.entries(value).map(([key, item]) => {
        const place = `${path}[${JSON.stringify(key.slice(0, 80))}]`
        return [type.key === "String" ? key : mapKey(key, place), check(type.value, item, place)]
      })
    }
  }
}

/** The one entry of an object like `{ok: …}`. */
function only(value: unknown, key: string, type: ClarityType, path: string, inner: ClarityType): Plain {
  if (!isObject(value) || !Object.hasOwn(value, key) || Object.keys(value).length !== 1) throw wrong(type, path)
  return check(inner, value[key], `${path}.${key}`)
}

function union(type: ClarityType & { kind: "Union" }, value: unknown, path: string): Plain {
  const name = typeof value === "string" ? value : isObject(value) ? Object.keys(value)[0] : undefined
  const index = type.variants.findIndex((variant) => variant.name === name)
  const variant = type.variants[index]
  if (!variant) throw wrong(type, path)
  if (typeof value === "string") {
    if (variant.fields.length > 0) throw wrong(type, path)
    return [index]
  }
  if (!isObject(value) || Object.keys(value).length !== 1) throw wrong(type, path)
  const fields = value[variant.name]
  if (!isObject(fields)) throw wrong(type, path)
  return [index, ...checkFields(variant.fields, fields, `${path}.${variant.name}`)]
}

function wholeNumber(value: unknown, path: string, what: "Int64" | "Timestamp"): number | bigint {
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return value
    if (Number.isInteger(value)) {
      throw new ArgumentError(`${path} is beyond ±2^53: write it as decimal text, so that no digit is lost`)
    }
    throw new ArgumentError(`${path} must be a whole number`)
  }
  const digits = digitsOf(value)
  if (digits === undefined || !/^-?[0-9]+$/.test(digits)) {
    throw new ArgumentError(`${path} must be ${what === "Int64" ? expectedWhole : expectedInstant}`)
  }
  const number = digits.length > 40 ? undefined : BigInt(digits)
  if (number === undefined || number < smallest || number > largest) {
    throw new ArgumentError(`${path} is outside Int64 (-2^63 to 2^63 - 1)`)
  }
  return number
}

function mapKey(key: string, path: string): number | bigint {
  if (!/^(?:0|-?[1-9][0-9]*)$/.test(key)) throw new ArgumentError(`the key ${path} must be a whole number`)
  return wholeNumber(key, `the key ${path}`, "Int64")
}

function instant(value: unknown, path: string): number | bigint {
  if (typeof value === "string" && !/^-?[0-9]+$/.test(value)) {
    const parsed = value.length <= 64 && /^[+-]?\d{4,6}-\d{2}-\d{2}/.test(value) ? Date.parse(value) : Number.NaN
    if (Number.isNaN(parsed)) throw new ArgumentError(`${path} must be ${expectedInstant}`)
    return parsed
  }
  return wholeNumber(value, path, "Timestamp")
}

function float(value: unknown, path: string): number {
  if (typeof value === "number") return value
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value)
  if (isRawNumber(value)) return Number(value.rawJSON)
  throw new ArgumentError(`${path} must be a number`)
}

function bytes(value: unknown, path: string): Uint8Array {
  const problem = new ArgumentError(`${path} must be base64 text`)
  if (typeof value !== "string" || value.length % 4 !== 0) throw problem
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) throw problem
  return new Uint8Array(Buffer.from(value, "base64"))
}

function digitsOf(value: unknown): string | undefined {
  if (typeof value === "string") return value
  return isRawNumber(value) ? value.rawJSON : undefined
}

/** A number the body's parser kept digit by digit. */
function isRawNumber(value: unknown): value is { readonly rawJSON: string } {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return isJsonObject(value) && !isRawNumber(value)
}

const expectedWhole = "a whole number, or decimal text"
const expectedInstant = "milliseconds since 1970-01-01 UTC, or an ISO 8601 date and time"

function wrong(type: ClarityType, path: string): ArgumentError {
  return new ArgumentError(`${path} must be ${expected(type)}`)
}

function expected(type: ClarityType): string {
  switch (type.kind) {
    case "Int64":
      return expectedWhole
    case "Timestamp":
      return expectedInstant
    case "Float64":
      return "a number"
    case "Bool":
      return "true or false"
    case "String":
      return "a text"
    case "Bytes":
      return "base64 text"
    case "Unit":
      return "null"
    case "List":
      return "an array"
    case "Map":
      return "an object"
    case "Record":
      return `an object with ${type.fields.map(({ name }) => name).join(", ")}`.slice(0, 300)
    case "Option":
      return isNullable(type.inner) ? '{"some": value} or null' : `${expected(type.inner)}, or null`
    case "Result":
      return '{"ok": value} or {"err": value}'
    case "Union": {
      const forms = type.variants.map(({ name, fields }) => (fields.length === 0 ? `"${name}"` : `{"${name}": {…}}`))
      return `one of ${forms.join(", ")}`.slice(0, 300)
    }
  }
}
