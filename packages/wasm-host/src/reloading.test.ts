import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import path from "node:path"
import type { Backend } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { backendServices, callTool, fixture, textOf, wasmService, type WasmService } from "./testing/harness.ts"
import { wasmBackends, type WasmBackends } from "./wasm-backends.ts"

const never = new AbortController().signal
let folder: string
let factory: WasmBackends
let service: WasmService
let backend: Backend

const put = async (name: string) => {
  for (const end of ["wasm", "clarity"]) await copyFile(fixture(`${name}.${end}`), path.join(folder, `module.${end}`))
}
const toolsOf = async () => (await backend.describe(never)).tools.map(({ name }) => name)
const call = (tool: string, args: unknown) => callTool(backend, service, tool, args)

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "wasm-reload-"))
  factory = wasmBackends({ callTimeoutMs: 300 })
  service = wasmService(path.join(folder, "module.wasm"))
  await put("spinner")
  backend = await factory.open(service, backendServices(), never)
  await backend.describe(never)
})
afterEach(async () => {
  await backend[Symbol.asyncDispose]()
  await factory[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

describe("a module that is built anew while it runs", () => {
  it("is taken in when somebody asks again what it offers", async () => {
    await put("bools")
    expect(textOf(await call("fn__countdown", { n: 3 }))).toBe("0")
    expect(await toolsOf()).toContain("fn__nand")
    expect(textOf(await call("fn__nand", { a: true, b: true }))).toBe("false")
    await expect(call("fn__countdown", { n: 3 })).rejects.toThrow("unknown tool: fn__countdown")
  })

  it("lets calls under way end where they began", async () => {
    const under = call("fn__forever", { n: 0 }).catch((error: Error) => error.message)
    await put("bools")
    expect(await toolsOf()).toContain("fn__nand")
    expect(await under).toContain("forever did not finish")
  })

  it("goes on as it was when the new build is refused or unreadable", async () => {
    await writeFile(path.join(folder, "module.wasm"), "half a modu")
    await expect(backend.describe(never)).rejects.toThrow("not a WebAssembly module")
    await rm(path.join(folder, "module.wasm"))
    await expect(backend.describe(never)).rejects.toThrow("does not exist")
    expect(textOf(await call("fn__countdown", { n: 3 }))).toBe("0")
  })
})
