import { readFileSync } from "node:fs"
import type { Backend } from "@clarity-runtime/contracts"
import { Ajv2020 } from "ajv/dist/2020.js"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { backendServices, callTool, fixture, wasmService, type WasmService } from "./testing/harness.ts"
import { wasmBackends } from "./wasm-backends.ts"

interface Case {
  readonly fn: string
  readonly args: Record<string, unknown> | unknown[]
  readonly value?: unknown
  readonly error?: string
}

interface Schema {
  readonly properties?: Record<string, unknown>
}

const ajv = new Ajv2020({ strict: false })
const expectations = JSON.parse(readFileSync(fixture("expect.json"), "utf8")) as Record<string, Case[]>
const refused = new Set(["notes.wasm", "vault.wasm"])
const factory = wasmBackends({ powers: { now: 1_700_000_000_000, random: "min" } })

afterAll(() => factory[Symbol.asyncDispose]())

describe.each(Object.keys(expectations).filter((name) => !refused.has(name)))("%s", (name) => {
  let backend: Backend
  let service: WasmService
  let schemas: ReadonlyMap<string, { input: Schema; output: Schema }>

  beforeAll(async () => {
    service = wasmService(fixture(name))
    backend = await factory.open(service, backendServices(), new AbortController().signal)
    const face = await backend.describe(new AbortController().signal)
    schemas = new Map(
      face.tools.map((tool) => [
        tool.name,
        { input: tool["inputSchema"] as Schema, output: tool["outputSchema"] as Schema },
      ]),
    )
  })
  afterAll(() => backend[Symbol.asyncDispose]())

  it.each(expectations[name] ?? [])("$fn $args", async ({ fn, args, value, error }) => {
    const tool = `fn__${fn}`
    const { input, output } = schemas.get(tool) ?? { input: {}, output: {} }
    const names = Object.keys(input.properties ?? {})
    const named = Array.isArray(args) ? Object.fromEntries(names.map((param, index) => [param, args[index]])) : args
    expect(ajv.compile(input)(named), "arguments against the advertised schema").toBe(true)
    const result = await callTool(backend, service, tool, named)
    const text = typeof value === "string" ? value : JSON.stringify(value)
    const good = { content: [{ type: "text", text }], structuredContent: { result: value } }
    const bad = { content: [{ type: "text", text: expect.stringContaining(error ?? "") }], isError: true }
    expect(result).toEqual(error === undefined ? good : bad)
    const structured = error === undefined ? result["structuredContent"] : undefined
    expect(structured === undefined || ajv.compile(output)(structured), "result against the advertised schema").toBe(
      true,
    )
  })
})
