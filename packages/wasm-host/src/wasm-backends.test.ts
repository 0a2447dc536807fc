import { readdirSync } from "node:fs"
import { mkdtemp, readdir, rm, writeFile, copyFile } from "node:fs/promises"
import { getPriority, tmpdir } from "node:os"
import path from "node:path"
import { ClarityError, type Backend, type CallContext } from "@clarity-runtime/contracts"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import {
  backendServices,
  callTool,
  fixture,
  textOf,
  valueOf,
  wasmService,
  type WasmService,
} from "./testing/harness.ts"
import { i32, i64, loopForEver, plainModule, buildModule } from "./testing/module-builder.ts"
import { wasmBackends, type WasmBackends, type WasmOptions } from "./wasm-backends.ts"

const never = new AbortController().signal
let folder: string
let factories: WasmBackends[] = []

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "wasm-host-"))
})
afterEach(async () => {
  for (const factory of factories) await factory[Symbol.asyncDispose]()
  factories = []
  await rm(folder, { recursive: true, force: true })
})

function create(options: WasmOptions = {}): WasmBackends {
  const factory = wasmBackends(options)
  factories.push(factory)
  return factory
}

async function write(name: string, bytes: Uint8Array | string): Promise<WasmService> {
  const file = path.join(folder, name)
  await writeFile(file, bytes)
  return wasmService(file)
}

async function opened(name: string, options: WasmOptions = {}) {
  const factory = create(options)
  const service = wasmService(fixture(name))
  const backend = await factory.open(service, backendServices(), never)
  const call = (tool: string, args: unknown = {}, context: Partial<CallContext> = {}) =>
    callTool(backend, service, tool, args, context)
  return { factory, service, backend, call }
}

const refusalOf = async (action: Promise<unknown>): Promise<ClarityError> => {
  const error = await action.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof ClarityError) return error
  throw new Error(`expected a ClarityError, got ${String(error)}`)
}

describe("opening", () => {
  const hostile: readonly (readonly [string, RegExp])[] = [
    ["hostile/bad_heap_base.wasm", /memory has no declared maximum/],
    ["hostile/cut_short.wasm", /cut short/],
    ["hostile/not_wasm.wasm", /not a WebAssembly module/],
    ["hostile/grows_itself.wasm", /memory has no declared maximum/],
    ["hostile/huge_memory.wasm", /memory has no declared maximum/],
    ["hostile/many_results.wasm", /memory has no declared maximum/],
    ["hostile/start_loops.wasm", /memory has no declared maximum/],
    ["hostile/unknown_import.wasm", /env\.teleport, which this host does not know/],
    ["notes.wasm", /FileSystem \(env\.read_line, env\.read_file, env\.write_file, .*env\.make_dir\)/],
    ["vault.wasm", /Secret \(env\.get_secret\)/],
  ]
  it.each(hostile)("refuses %s by name, in inspect and open alike, and lives on", async (name, message) => {
    const factory = create()
    const service = wasmService(fixture(name))
    const error = await refusalOf(factory.open(service, backendServices(), never))
    expect(error.code).toBe("invalid_manifest")
    expect(error.message).toMatch(message)
    expect(error.data["hint"]).toBeTypeOf("string")
    const inspected = await refusalOf(factory.inspect?.(service, never) ?? Promise.resolve())
    expect(inspected.message).toBe(error.message)
    expect(factory.workers).toBe(0)
  })

  it("says which file is missing, is a folder or is too large", async () => {
    const factory = create()
    const open = (file: string) => refusalOf(factory.open(wasmService(file), backendServices(), never))
    expect(await open(path.join(folder, "none.wasm"))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/none\.wasm does not exist/),
      data: { hint: expect.stringContaining("clarityc compile") },
    })
    expect((await open(folder)).message).toContain("is not a file")
    const big = await write("big.wasm", new Uint8Array(10 * 1024 * 1024 + 1))
    expect((await open(big.manifest.spec.origin.wasmPath)).message).toContain("more than the 10 MiB allowed")
  })

  it("cuts a start function that never ends, and starts one that does on every call", async () => {
    const loops = plainModule(
      [
        { type: [[], []], body: loopForEver },
        { name: "go", type: [[], ["i64"]], body: i64(1) },
      ],
      { start: 0 },
    )
    const service = await write("loops.wasm", loops)
    const factory = create({ callTimeoutMs: 100 })
    const error = await refusalOf(factory.open(service, backendServices(), never))
    expect(error).toMatchObject({ code: "upstream_timeout", message: expect.stringContaining("start function") })
    // go: state = state + 1, started at 41 by the start function: a kept instance would count on.
    const counts = plainModule(
      [
        { type: [[], []], body: [...i64(41), 0x24, 1] },
        { name: "go", type: [[], ["i64"]], body: [0x23, 1, ...i64(1), 0x7c, 0x24, 1, 0x23, 1] },
      ],
      { start: 0, mutableGlobal: true },
    )
    const good = await write("counts.wasm", counts)
    const backend = await factory.open(good, backendServices(), never)
    for (let round = 0; round < 3; round += 1) expect(valueOf(await callTool(backend, good, "fn__go", {}))).toBe(42)
  })

  it("runs a module without memory, and hides what cannot be typed", async () => {
    const factory = create()
    const service = await write(
      "plain.wasm",
      buildModule({
        functions: [
          { name: "seven", type: [[], ["i64"]], body: i64(7) },
          { name: "half", type: [["f64"], ["f64"]], body: [0x20, 0, 0x44, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0xa2] },
          { name: "two", type: [[], ["i64", "i64"]], body: [...i64(1), ...i64(2)] },
          { name: "at", type: [["i32"], ["i32"]], body: [0x20, 0] },
          { name: "twin$Int64", type: [[], ["i64"]], body: i64(7) },
        ],
      }),
    )
    const backend = await factory.open(service, backendServices(), never)
    const face = await backend.describe(never)
    expect(face.tools.map(({ name }) => name)).toEqual(["fn__seven", "fn__half", "health_check", "describe_service"])
    expect(face.rejected?.map(({ item }) => item)).toEqual(["tool:fn__two", "tool:fn__at"])
    expect(face.tools[1]?.["inputSchema"]).toMatchObject({ required: ["arg0"] })
    expect(face.tools[1]?.["description"]).toContain("Typed from the compiled module alone")
    expect(valueOf(await callTool(backend, service, "fn__half", { arg0: 5 }))).toBe(2.5)
    expect(valueOf(await callTool(backend, service, "fn__seven", {}))).toBe(7)
  })
})

describe("what is offered", () => {
  it("has names, types and comments from the source, hides helpers, and passes its own schema", async () => {
    const { backend, call } = await opened("records.wasm")
    const face = await backend.describe(never)
    const tool = face.tools.find(({ name }) => name === "fn__launch")
    expect(tool).toMatchObject({
      description: "Build a vessel from its parts.",
      inputSchema: {
        required: ["name", "crew", "draft"],
        additionalProperties: false,
        properties: { name: { type: "string" }, crew: { type: ["integer", "string"] } },
      },
      outputSchema: { properties: { result: { required: ["moored", "name", "crew", "draft"] } }, required: ["result"] },
      annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: false },
    })
    expect(face.tools.map(({ name }) => name)).not.toContain("fn__crew_of")
    const described = valueOf(await call("describe_service")) as { functions: { signature: string }[] }
    expect(described.functions.map(({ signature }) => signature)).toContain("load(n: Int64) -> Cargo")
    expect(valueOf(await call("health_check"))).toMatchObject({ status: "ok", functions: 7 })
  })

  it("marks functions with effects as not idempotent and names the effects", async () => {
    const { backend } = await opened("clock.wasm")
    const [instant] = (await backend.describe(never)).tools
    expect(instant).toMatchObject({
      annotations: { idempotentHint: false },
      description: expect.stringContaining("Effects: Time."),
    })
  })

  it("answers unknown tools and methods with protocol errors", async () => {
    const { backend, service, call } = await opened("ints.wasm")
    expect((await refusalOf(call("fn__twice", { n: 1 }))).code).toBe("invalid_params")
    const reply = backend.call({ method: "resources/read", params: {}, meta: {} }, { ...({} as CallContext), service })
    expect((await refusalOf(reply.next())).code).toBe("method_not_found")
  })

  it("refuses a module that its source did not make, and takes it once it is recompiled", async () => {
    const wasm = path.join(folder, "calc.wasm")
    const source = path.join(folder, "calc.clarity")
    const factory = create()
    await copyFile(fixture("ints.wasm"), wasm)
    const stale: readonly (readonly [string, RegExp])[] = [
      ["module X\nexport function plus(a: Int64, b: Int64) -> Int64 { a }", /the module has .*, the source does not/],
      ["module X\nexport function minus(a: Int64) -> Int64 { a }", /the source has minus, the module does not/],
      ["module X\nexport function plus(a: Float64, b: Int64) -> Int64 { b }", /plus has other types/],
    ]
    for (const [text, message] of stale) {
      await writeFile(source, text)
      const error = await refusalOf(factory.open(wasmService(wasm, source), backendServices(), never))
      expect(error.message).toMatch(message)
      expect(error.data["hint"]).toBe(`compile it again: clarityc compile ${source}`)
    }
    await copyFile(fixture("ints.clarity"), source)
    const service = wasmService(wasm, source)
    const before = await factory.open(service, backendServices(), never)
    expect(valueOf(await callTool(before, service, "fn__plus", { a: 1, b: 2 }))).toBe(3)
    await copyFile(fixture("strings.wasm"), wasm)
    await copyFile(fixture("strings.clarity"), source)
    const after = await factory.open(service, backendServices(), never)
    expect((await after.describe(never)).tools[0]?.name).toBe("fn__slugify")
    expect(valueOf(await callTool(before, service, "fn__plus", { a: 1, b: 2 }))).toBe(3)
    expect(valueOf(await callTool(after, service, "fn__blank", {}))).toBe("")
  })

  it("keeps what it read for when the source is gone, and survives a broken sidecar", async () => {
    const stateDir = path.join(folder, "state")
    const wasm = path.join(folder, "moved.wasm")
    const factory = create({ stateDir })
    const withSource = wasmService(fixture("options.wasm"))
    const first = await (await factory.open(withSource, backendServices(), never)).describe(never)
    await copyFile(fixture("options.wasm"), wasm)
    const moved = wasmService(wasm)
    const second = await factory.open(moved, backendServices(), never)
    expect((await second.describe(never)).tools).toEqual(first.tools)
    expect(valueOf(await callTool(second, moved, "fn__find", { needle: "gold" }))).toEqual({
      line: 7,
      text: "gold here",
    })
    const [sidecar] = await readdir(path.join(stateDir, "wasm"))
    expect(sidecar).toMatch(/^[0-9a-f]{64}\.json$/)
    for (const damage of ["{", "[]", '{"format":1,"module":"","functions":[{}],"rejected":[]}']) {
      await writeFile(path.join(stateDir, "wasm", sidecar ?? ""), damage)
      const bare = await (await factory.open(moved, backendServices(), never)).describe(never)
      expect(bare.tools.map(({ name }) => name)).toEqual(["health_check", "describe_service"])
      expect(bare.rejected?.[0]).toMatchObject({
        item: "tool:fn__safe_div",
        reason: expect.stringContaining("source is needed"),
      })
    }
  })

  it("trusts no sidecar that does not fit the module", async () => {
    const stateDir = path.join(folder, "state")
    const factory = create({ stateDir })
    const service = wasmService(fixture("bools.wasm"))
    await (await factory.open(service, backendServices(), never))[Symbol.asyncDispose]()
    const [sidecar] = await readdir(path.join(stateDir, "wasm"))
    const wasm = path.join(folder, "bools.wasm")
    await copyFile(fixture("bools.wasm"), wasm)
    const type = { kind: "String" }
    const lie = { name: "nand", params: [{ name: "a", type }], result: type, doc: "", effects: [] }
    const text = JSON.stringify({ format: 1, module: "X", functions: [lie], rejected: [] })
    await writeFile(path.join(stateDir, "wasm", sidecar ?? ""), text)
    const face = await (await factory.open(wasmService(wasm), backendServices(), never)).describe(never)
    expect(face.tools.map(({ name }) => name)).not.toContain("fn__nand")
  })
})

describe("arguments", () => {
  it("are refused by name before anything runs", async () => {
    const { call, factory } = await opened("records.wasm")
    const wrong: readonly (readonly [string, unknown, string])[] = [
      ["fn__launch", { name: "x", crew: 1 }, "draft is missing"],
      ["fn__launch", { name: "x", crew: 1, draft: 1, flag: true }, '"flag" is not a known argument'],
      ["fn__launch", { name: 1, crew: 1, draft: 1 }, "name must be a text"],
      ["fn__launch", { name: "x", crew: 1.5, draft: 1 }, "crew must be a whole number"],
      ["fn__launch", { name: "x", crew: 2 ** 60, draft: 1 }, "crew is beyond"],
      ["fn__launch", { name: "x", crew: "-9223372036854775809", draft: 1 }, "crew is outside Int64"],
      ["fn__launch", [1], "must be an object"],
      ["fn__describe", { v: { moored: 1, name: "", crew: 0, draft: 0 } }, "v.moored must be true or false"],
      ["fn__crew_total", { h: { title: "", flag: null, berths: [], open: true } }, "h.flag must be an object"],
      ["fn__manifest_line", { c: { Bulk: { kind: "x", tonnes: 1 } } }, "c.Bulk.sealed is missing"],
      ["fn__manifest_line", { c: "Crates" }, "c must be one of"],
      ["fn__manifest_line", { c: { Empty: {}, Crates: {} } }, "c must be one of"],
    ]
    for (const [tool, args, message] of wrong) {
      const result = await call(tool, args)
      expect(result["isError"]).toBe(true)
      expect(textOf(result)).toContain(message)
    }
    expect(factory.workers).toBe(0)
  })

  it("may be raw JSON numbers, exactly", async () => {
    const { call } = await opened("ints.wasm")
    const raw = (text: string) => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text)
    expect(valueOf(await call("fn__same", { n: raw("9007199254740993") }))).toBe("9007199254740993")
    expect(valueOf(await call("fn__same", { n: raw("-9223372036854775808") }))).toBe("-9223372036854775808")
    expect(textOf(await call("fn__same", { n: raw("9223372036854775808") }))).toContain("outside Int64")
    const floats = await opened("floats.wasm")
    expect(valueOf(await floats.call("fn__to_fahrenheit", { celsius: raw("90071992547409930") }))).toBe(
      Number("90071992547409930") * 1.8 + 32,
    )
  })

  it("may be keys and names that are special elsewhere", async () => {
    const { call } = await opened("maps.wasm")
    const book = JSON.parse('{"__proto__": 1, "constructor": 2}') as unknown
    const result = await call("fn__post", { book, account: "toString", amount: 3 })
    expect(JSON.stringify(valueOf(result))).toBe('{"__proto__":1,"constructor":2,"toString":3}')
  })
})

/** Of every thread of this process. Linux only. */
function priorities(): number[] {
  return readdirSync("/proc/self/task").map((thread) => {
    try {
      return getPriority(Number(thread))
    } catch {
      return 0 // it has ended meanwhile
    }
  })
}

describe("a call that goes wrong", () => {
  it("is cut at the time limit, and the next one answers", async () => {
    const { call } = await opened("spinner.wasm", { callTimeoutMs: 100, workers: 1 })
    const error = await refusalOf(call("fn__forever", { n: 0 }))
    expect(error).toMatchObject({ code: "upstream_timeout", message: expect.stringContaining("100 ms") })
    expect(valueOf(await call("fn__countdown", { n: 1000 }))).toBe(0)
  })

  it("takes its limit from the service and from the call, whichever is shorter", async () => {
    const factory = create({ callTimeoutMs: 60_000 })
    const service = wasmService(fixture("spinner.wasm"), "", { timeoutMs: 50 })
    const backend = await factory.open(service, backendServices(), never)
    expect((await refusalOf(callTool(backend, service, "fn__forever", { n: 0 }))).message).toContain("50 ms")
    const limits = { idleMs: 1000, totalMs: 20, maxResultBytes: 1024 }
    expect((await refusalOf(callTool(backend, service, "fn__forever", { n: 0 }, { limits }))).message).toContain(
      "20 ms",
    )
  })

  it("does not hold up others, however many spin at once", async () => {
    const factory = create({ callTimeoutMs: 600_000 })
    const spinner = wasmService(fixture("spinner.wasm"))
    const ints = wasmService(fixture("ints.wasm"))
    const bad = await factory.open(spinner, backendServices(), never)
    const good = await factory.open(ints, backendServices(), never)
    const stop = new AbortController()
    const spins = Array.from({ length: 6 }, () =>
      refusalOf(callTool(bad, spinner, "fn__forever", { n: 0 }, { signal: stop.signal })),
    )
    await expect.poll(() => factory.workers).toBeGreaterThan(1)
    for (let n = 0; n < 20; n += 1) expect(valueOf(await callTool(good, ints, "fn__plus", { a: n, b: 1 }))).toBe(n + 1)
    stop.abort()
    expect((await Promise.all(spins)).every(({ code }) => code === "cancelled")).toBe(true)
  })

  it.runIf(process.platform === "linux")("gives way to everybody else while it runs long", async () => {
    const { call } = await opened("spinner.wasm", { callTimeoutMs: 600_000, workers: 1 })
    const stop = new AbortController()
    const spinning = refusalOf(call("fn__forever", { n: 0 }, { signal: stop.signal }))
    await expect.poll(priorities).toContain(getPriority() + 10)
    stop.abort()
    await spinning
    await expect.poll(priorities).not.toContain(getPriority() + 10)
    expect(valueOf(await call("fn__countdown", { n: 1000 }))).toBe(0)
  })

  it("cannot use more memory than its module declares, and leaves nothing behind", async () => {
    const { call } = await opened("hog.wasm", { workers: 1 })
    for (let round = 0; round < 4; round += 1) {
      expect(textOf(await call("fn__cells", { n: 0 }))).toContain("memory limit")
      expect(textOf(await call("fn__double_text", { n: 40 }))).toContain("memory limit")
      expect(textOf(await call("fn__one_gulp", { bytes: "4000000000" }))).toContain("memory limit")
      expect(textOf(await call("fn__fill_map", { n: 10_000_000 }))).toContain("memory limit")
    }
    expect(process.memoryUsage().rss).toBeLessThan(1024 * 1024 * 1024)
    expect(valueOf(await call("fn__fill_map", { n: 20_000 }))).toBe(20_000)
  })

  it("may grow its memory to what it declares and no further", async () => {
    const service = await write(
      "grows.wasm",
      plainModule([{ name: "grow", type: [["i64"], ["i64"]], body: [0x20, 0, 0xa7, 0x40, 0, 0xac] }]),
    )
    const backend = await create().open(service, backendServices(), never)
    expect(valueOf(await callTool(backend, service, "fn__grow", { arg0: 15 }))).toBe(1)
    expect(valueOf(await callTool(backend, service, "fn__grow", { arg0: 16 }))).toBe(-1)
    expect(valueOf(await callTool(backend, service, "fn__grow", { arg0: 0 }))).toBe(1)
  })

  it("may grow its memory by itself before it calls the host", async () => {
    const body = [...i32(1), 0x40, 0, 0x1a, ...i32(2000), 0x10, 0]
    const imports = [{ name: "bytes_length", type: [["i32"], ["i64"]] }] as const
    const grown = plainModule([{ name: "go", type: [[], ["i64"]], body }], { imports })
    const service = await write("grows-first.wasm", grown)
    const backend = await create().open(service, backendServices(), never)
    expect(valueOf(await callTool(backend, service, "fn__go", {}))).toBe(0)
    expect(valueOf(await callTool(backend, service, "fn__go", {}))).toBe(0)
  })

  it("may use up the host's side of its thread, and only that", async () => {
    // json_array_length("[" ++ string_repeat("[1],", 4,800,000) ++ "[]]"): 19 MB of text, far more once parsed.
    const texts = Uint8Array.from([
      1, 0, 0, 0, 0x5b, 0, 0, 0, 4, 0, 0, 0, 0x5b, 0x31, 0x5d, 0x2c, 3, 0, 0, 0, 0x5b, 0x5d, 0x5d,
    ])
    const imports = [
      { name: "string_repeat", type: [["i32", "i64"], ["i32"]] },
      { name: "string_concat", type: [["i32", "i32"], ["i32"]] },
      { name: "json_array_length", type: [["i32"], ["i32"]] },
    ] as const
    const text = [...i32(0), ...i32(8), 0x20, 0, 0x10, 0, 0x10, 1, ...i32(16), 0x10, 1]
    const body = [...text, 0x10, 2, 0x29, 3, 8]
    const bomb = plainModule([{ name: "bomb", type: [["i64"], ["i64"]], body }], {
      imports,
      memories: [[1, 1, 1024]],
      data: { at: 0, bytes: texts },
    })
    const service = await write("bomb.wasm", bomb)
    const backend = await create({ workers: 1, callTimeoutMs: 60_000 }).open(service, backendServices(), never)
    expect(valueOf(await callTool(backend, service, "fn__bomb", { arg0: 3 }))).toBe(4)
    const result = await callTool(backend, service, "fn__bomb", { arg0: 4_800_000 })
    expect(textOf(result)).toContain("memory limit: a text of 19200004 bytes is more than")
    const parsed = await callTool(backend, service, "fn__bomb", { arg0: 4_000_000 })
    expect(textOf(parsed)).toContain("memory limit: a JSON text has more than")
    expect(valueOf(await callTool(backend, service, "fn__bomb", { arg0: 3 }))).toBe(4)
  })

  it("leaves nothing in memory for the next one", async () => {
    // peek gives the i64 at 1024; poke writes one there.
    const service = await write(
      "memory.wasm",
      plainModule([
        { name: "poke", type: [["i64"], []], body: [...i32(1024), 0x20, 0, 0x37, 3, 0] },
        { name: "peek", type: [[], ["i64"]], body: [...i32(1024), 0x29, 3, 0] },
      ]),
    )
    const backend = await create({ workers: 1 }).open(service, backendServices(), never)
    expect(valueOf(await callTool(backend, service, "fn__poke", { arg0: 99 }))).toBe(null)
    expect(valueOf(await callTool(backend, service, "fn__peek", {}))).toBe(0)
  })

  it("has a result within the limit or none", async () => {
    const { call } = await opened("hog.wasm")
    const limits = { idleMs: 1000, totalMs: 5000, maxResultBytes: 1000 }
    expect(valueOf(await call("fn__big_reply", { n: 400 }, { limits }))).toBe("y".repeat(400))
    const error = await refusalOf(call("fn__big_reply", { n: 600 }, { limits }))
    expect(error).toMatchObject({ code: "result_too_large", message: expect.stringContaining("1000 bytes") })
  })

  it("writes to the service's log, bounded, also when it is cut", async () => {
    const lines: string[] = []
    const factory = create({ callTimeoutMs: 2000 })
    const service = wasmService(fixture("spinner.wasm"))
    const log = { write: (stream: string, text: string) => void lines.push(`${stream} ${text}`) }
    const backend = await factory.open(service, backendServices(log), never)
    const result = await callTool(backend, service, "fn__forever_loud", { n: 5 })
    expect(textOf(result)).toContain("log limit")
    expect(lines).toHaveLength(1000)
    expect(lines[0]).toBe("stdout 5")
  })
})

describe("the pool", () => {
  it("starts no thread before the first call and ends idle ones", async () => {
    const { call, factory } = await opened("ints.wasm", { workerIdleMs: 20 })
    expect(factory.workers).toBe(0)
    expect(valueOf(await call("fn__plus", { a: 1, b: 2 }))).toBe(3)
    expect(factory.workers).toBe(1)
    await expect.poll(() => factory.workers).toBe(0)
    expect(valueOf(await call("fn__plus", { a: 1, b: 2 }))).toBe(3)
  })

  it("keeps 1,000 parallel calls apart", async () => {
    const factory = create()
    const services = ["ints.wasm", "strings.wasm", "lists.wasm"].map((name) => wasmService(fixture(name)))
    const backends: Backend[] = []
    for (const service of services) backends.push(await factory.open(service, backendServices(), never))
    const calls = Array.from({ length: 1000 }, async (_, n) => {
      const which = n % 3
      const [tool, args, value] = [
        ["fn__plus", { a: n, b: 1 }, n + 1],
        ["fn__same", { text: `call ${n}` }, `call ${n}`],
        [
          "fn__pairs",
          { a: n, b: 1 },
          [
            [n, 1],
            [1, n],
          ],
        ],
      ][which] as [string, object, unknown]
      const result = await callTool(backends[which] as Backend, services[which] as WasmService, tool, args)
      expect(valueOf(result)).toEqual(value)
    })
    await Promise.all(calls)
    expect(factory.workers).toBeLessThanOrEqual(4)
  })

  it("lets go of a cancelled call at once, running or waiting", async () => {
    const { call, factory } = await opened("spinner.wasm", { callTimeoutMs: 60_000, workers: 1 })
    const running = new AbortController()
    const waiting = new AbortController()
    const first = refusalOf(call("fn__forever", { n: 0 }, { signal: running.signal }))
    const second = refusalOf(call("fn__countdown", { n: 5 }, { signal: waiting.signal }))
    const third = call("fn__countdown", { n: 5 })
    waiting.abort()
    expect((await second).code).toBe("cancelled")
    running.abort(new ClarityError("upstream_timeout", "too long"))
    expect((await first).code).toBe("upstream_timeout")
    expect(valueOf(await third)).toBe(0)
    expect(factory.workers).toBe(1)
    const gone = new AbortController()
    gone.abort()
    expect((await refusalOf(call("fn__countdown", { n: 5 }, { signal: gone.signal }))).code).toBe("cancelled")
  })

  it("bounds its queue, and ends what runs when it is disposed", async () => {
    const { call, factory, backend } = await opened("spinner.wasm", { callTimeoutMs: 60_000, workers: 1 })
    const calls = Array.from({ length: 2100 }, () => refusalOf(call("fn__forever", { n: 0 })))
    const refused = await Promise.race(calls)
    expect(refused.code).toBe("rate_limited")
    await backend[Symbol.asyncDispose]()
    const codes = (await Promise.all(calls)).map(({ code }) => code)
    expect(codes.filter((code) => code === "unavailable")).toHaveLength(2049)
    expect((await refusalOf(call("fn__countdown", { n: 1 }))).code).toBe("unavailable")
    await factory[Symbol.asyncDispose]()
    expect(factory.workers).toBe(0)
  })

  it("takes back what waits behind a call that turns out long", async () => {
    const { call } = await opened("spinner.wasm", { callTimeoutMs: 60_000, workers: 2 })
    const stop = new AbortController()
    // Known as short, then long: the calls posted behind it must not wait for it.
    for (let round = 0; round < 20; round += 1) await call("fn__countdown", { n: 1 })
    const long = refusalOf(call("fn__countdown", { n: "9000000000000000000" }, { signal: stop.signal }))
    const behind = await Promise.all(Array.from({ length: 10 }, () => call("fn__countdown", { n: 2 })))
    expect(behind.map(valueOf)).toEqual(Array.from({ length: 10 }, () => 0))
    stop.abort()
    expect((await long).code).toBe("cancelled")
  })
})
