import { checkJson, checkText } from "./host-bounds.ts"
import type { Host, HostFunction } from "./host.ts"

type JsonRecord = Record<string, unknown>

/** A raw JSON number: keeps the digits a double cannot hold. */
const raw = JSON as unknown as {
  rawJSON(text: string): object
  isRawJSON(value: unknown): value is { readonly rawJSON: string }
}

/** JSON inside a module: texts in, texts out. */
export function jsonFunctions(host: Host): Record<string, HostFunction> {
  const { heap, lists, maps } = host
  const write = (text: string) => heap.writeText(text)
  const mapOf = (record: JsonRecord) =>
    maps.create(new Map(Object.entries(record).map(([key, value]) => [key, write(textOf(value))])))
  const texts = (handle: number) => {
    let bytes = 0
    return [...maps.entries(handle)].map(([key, value]): [string, string] => {
      const text = heap.text(Number(value))
      checkText((bytes += text.length))
      return [String(key), text]
    })
  }
  const object = (fields: readonly string[]) => write(`{${fields.join(",")}}`)

  return {
    json_parse: (at: number) => {
      const value = parse(heap.text(at))
      const flat = isRecord(value) && Object.values(value).every((item) => !isNested(item))
      return flat ? host.some32(mapOf(value)) : host.none()
    },
    json_stringify: (handle: number) =>
      object(texts(handle).map(([key, text]) => `${JSON.stringify(key)}:${bare(text) ?? JSON.stringify(text)}`)),
    json_get: (at: number, key: number) => {
      const root = parse(heap.text(at))
      return host.optionalText(isRecord(root) ? shown(own(root, heap.text(key))) : undefined)
    },
    json_get_path: (at: number, path: number) => {
      const steps = heap.text(path).split(".")
      const step = (value: unknown, key: string) => (isRecord(value) ? own(value, key) : undefined)
      return host.optionalText(shown(steps.reduce(step, parse(heap.text(at)))))
    },
    json_get_nested: (at: number, path: number) => {
      const steps = heap.text(path).split(".")
      const step = (value: unknown, key: string): unknown => {
        if (Array.isArray(value)) return /^[0-9]{1,15}$/.test(key) ? (value as unknown[])[Number(key)] : undefined
        return isRecord(value) ? own(value, key) : undefined
      }
      return host.optionalText(shown(steps.reduce(step, parse(heap.text(at)))))
    },
    json_array_length: (at: number) => {
      const value = parse(heap.text(at))
      return Array.isArray(value) ? host.some64(BigInt(value.length)) : host.none()
    },
    json_array_get: (at: number, index: bigint) => {
      const value = parse(heap.text(at))
      const there = Array.isArray(value) && index >= 0n && index < BigInt(value.length)
      return host.optionalText(there ? textOf((value as unknown[])[Number(index)]) : undefined)
    },
    json_keys: (at: number) => {
      const value = parse(heap.text(at))
      return isRecord(value) ? host.some32(lists.ofTexts(Object.keys(value))) : host.none()
    },
    json_parse_object: (at: number) => {
      const value = parse(heap.text(at))
      return isRecord(value) ? host.ok32(mapOf(value)) : host.errText("not a JSON object")
    },
    json_stringify_object: (handle: number) =>
      object(texts(handle).map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`)),
  }
}

/** The parsed value, long whole numbers kept digit by digit; undefined when it is not JSON. */
function parse(text: string): unknown {
  checkJson(text)
  try {
    if (!/\d{16}/.test(text)) return JSON.parse(text)
    const keep = (_key: string, value: unknown, context?: { source?: string }) => {
      const source = context?.source
      const rounded = typeof value === "number" && source !== undefined && String(value) !== source
      return rounded && /^-?\d+$/.test(source) ? raw.rawJSON(source) : value
    }
    return (JSON.parse as (text: string, reviver: typeof keep) => unknown)(text, keep)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isRecord(value: unknown): value is JsonRecord {
  return isNested(value) && !Array.isArray(value)
}

function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null && !raw.isRawJSON(value)
}

function own(record: JsonRecord, key: string): unknown {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

/** Texts as they are, everything else as JSON. */
function textOf(value: unknown): string {
  if (typeof value === "string") return value
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? "null")
}

/** What a lookup gives: nothing for what is missing or null. */
function shown(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : textOf(value)
}

/** A text that reads as null, a boolean or a JSON number, to be written without quotes. */
function bare(text: string): string | undefined {
  const trimmed = text.trim()
  return /^(?:null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(trimmed) ? trimmed : undefined
}
