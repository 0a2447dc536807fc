import { readFileSync } from "node:fs"
import type { Backend } from "@clarity-runtime/contracts"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { backendServices, callTool, fixture, wasmService, type WasmService } from "./testing/harness.ts"
import { wasmBackends } from "./wasm-backends.ts"

interface Case {
  readonly fn: string
  readonly args: Record<string, unknown> | unknown[]
  readonly value?: unknown
  readonly error?: string
}

const expectations = JSON.parse(readFileSync(fixture("expect.json"), "utf8")) as Record<string, Case[]>
const refused = new Set(["notes.wasm", "vault.wasm"])
const factory = wasmBackends({ powers: { now: 1_700_000_000_000, random: "min" } })

afterAll(() => factory[Symbol.asyncDispose]())

describe.each(Object.keys(expectations).filter((name) => !refused.has(name)))("%s", (name) => {
  let backend: Backend
  let service: WasmService
  let params: ReadonlyMap<string, readonly string[]>

  beforeAll(async () => {
    service = wasmService(fixture(name))
    backend = await factory.open(service, backendServices(), new AbortController().signal)
    const face = await backend.describe(new AbortController().signal)
    params = new Map(
      face.tools.map((tool) => {
        const schema = tool["inputSchema"] as { properties: Record<string, unknown> }
        return [tool.name, Object.keys(schema.properties)]
      }),
    )
  })
  afterAll(() => backend[Symbol.asyncDispose]())

  it.each(expectations[name] ?? [])("$fn $args", async ({ fn, args, value, error }) => {
    const tool = `fn__${fn}`
    const named = Array.isArray(args)
      ? Object.fromEntries((params.get(tool) ?? []).map((param, index) => [param, args[index]]))
      : args
    const result = await callTool(backend, service, tool, named)
    const text = typeof value === "string" ? value : JSON.stringify(value)
    const good = { content: [{ type: "text", text }], structuredContent: { result: value } }
    const bad = { content: [{ type: "text", text: expect.stringContaining(error ?? "") }], isError: true }
    expect(result).toEqual(error === undefined ? good : bad)
  })
})
