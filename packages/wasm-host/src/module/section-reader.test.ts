import { readFileSync } from "node:fs"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { fixture } from "../testing/harness.ts"
import { buildModule, i64, plainModule, section, type Parts } from "../testing/module-builder.ts"
import { v8 } from "../testing/v8.ts"
import { capTables } from "./cap-tables.ts"
import { checkModule } from "./check-module.ts"
import { hostImports } from "./host-imports.ts"
import { readModule } from "./section-reader.ts"

const seven = { name: "seven", type: [[], ["i64"]], body: i64(7) } as const
const check = (bytes: Uint8Array) => checkModule(readModule(bytes))

describe("the section reader", () => {
  it("reads every fixture of ours as V8 does", () => {
    for (const name of ["ints", "strings", "records", "hog", "helper_agent", "notes"]) {
      const bytes = readFileSync(fixture(`${name}.wasm`))
      const module = new v8.Module(bytes)
      const shape = readModule(bytes)
      const exports = v8.Module.exports(module)
      expect(shape.functions.map(({ name }) => name)).toEqual(
        exports.filter(({ kind }) => kind === "function").map(({ name }) => name),
      )
      expect(shape.imports.map(({ name }) => name)).toEqual(v8.Module.imports(module).map(({ name }) => name))
      expect(shape.memory).toEqual({ minPages: 1, maxPages: 256 })
      expect(shape.heapBase).toBeGreaterThan(0)
      expect(shape.memoryOnly).toBe(true)
    }
  })

  it("takes a module that keeps all bounds", () => {
    const bytes = plainModule([seven], { memories: [[1, 1, 1024]], tables: [[1, 10, 65_536]] })
    expect(() => check(bytes)).not.toThrow()
    expect(v8.validate(bytes)).toBe(true)
  })

  const bad: readonly (readonly [string, Parts, RegExp])[] = [
    ["no maximum", { memories: [[0, 1]] }, /no declared maximum/],
    ["a maximum of 1025 pages", { memories: [[1, 1, 1025]] }, /1 to 1025 pages/],
    ["a minimum of 4 GiB", { memories: [[1, 65_536, 65_536]] }, /65536 to 65536 pages/],
    [
      "two memories",
      {
        memories: [
          [1, 1, 2],
          [1, 1, 2],
        ],
      },
      /2 memories/,
    ],
    ["a shared memory", { memories: [[3, 1, 2]] }, /shared/],
    ["a 64-bit memory", { memories: [[5, 1, 2]] }, /64-bit/],
    ["a table of 10 million", { tables: [[0, 10_000_000]] }, /more than the 65536 allowed/],
    ["a table that may grow to 65537", { tables: [[1, 1, 65_537]] }, /more than the 65536 allowed/],
    ["a heap base past the memory", { heapBase: 65_537 }, /__heap_base \(65537\)/],
    ["a negative heap base", { heapBase: -8 }, /__heap_base \(4294967288\)/],
    ["an unknown import", { imports: [{ name: "teleport", type: [["i32"], []] }] }, /env\.teleport/],
    [
      "an import of another module",
      { imports: [{ module: "wasi_snapshot_preview1", name: "fd_write", type: [[], []] }] },
      /wasi_snapshot_preview1\.fd_write/,
    ],
    [
      "an import of another type",
      { imports: [{ name: "sqrt", type: [["i64"], ["f64"]] }] },
      /env\.sqrt with other types/,
    ],
    [
      "the Secret effect",
      { imports: [{ name: "get_secret", type: [["i32"], ["i32"]] }] },
      /Secret \(env\.get_secret\)/,
    ],
    ["texts past the first memory", { data: { at: 65_530, bytes: new Uint8Array(7) } }, /data segment out of bounds/],
    ["an unknown section", { extraSections: [section(14, [])] }, /section 14 is unknown/],
    ["a section twice", { extraSections: [section(5, [1, 1, 1, 2])] }, /memory section is out of order/],
  ]
  it.each(bad)("refuses %s", (_what, parts, message) => {
    expect(() => check(plainModule([seven], parts))).toThrow(message)
  })

  it("refuses a memory that is imported, and 20,001 functions", () => {
    const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    const memory = section(2, [1, 3, 0x65, 0x6e, 0x76, 3, 0x6d, 0x65, 0x6d, 2, 0, 1])
    expect(() => readModule(Uint8Array.from([...head, ...memory]))).toThrow(/imports a memory \("env\.mem"\)/)
    const many = section(3, [0xa1, 0x9c, 0x01])
    expect(() => readModule(Uint8Array.from([...head, ...many]))).toThrow(/20001 functions/)
  })

  it("gives a table without a maximum one, and leaves the rest as it was", () => {
    const bytes = buildModule({ functions: [seven], tables: [[0, 3]] })
    const { openTables } = readModule(bytes)
    const capped = capTables(bytes, openTables ?? { start: 0, end: 0, minima: [] })
    expect(readModule(capped)).toMatchObject({ openTables: undefined, functions: [{ name: "seven" }] })
    const { exports } = new v8.Instance(new v8.Module(capped))
    expect(exports["seven"]?.()).toBe(7n)
  })

  it("knows all 209 host functions, each with a signature", () => {
    const all = Object.values(hostImports).flatMap((group) => Object.entries(group))
    expect(all).toHaveLength(209)
    expect(all.every(([, signature]) => /^[ild]*>[ild]?$/.test(signature))).toBe(true)
  })

  it("names every place where a module is cut short", () => {
    const bytes = readFileSync(fixture("records.wasm"))
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.subarray(0, length)
      const outcome = outcomeOf(cut, readModule)
      expect(outcome === "shape" || outcome instanceof ClarityError, `cut at ${length}`).toBe(true)
      // A file that ends between two sections may be whole by the rules; V8 has to agree.
      expect(outcome === "shape", `cut at ${length}`).toBe(v8.validate(cut))
    }
  })

  it("answers any bytes with a shape or a ClarityError", () => {
    const seeds = ["records", "hog", "strings"].map((name) => readFileSync(fixture(`${name}.wasm`)))
    const edit = fc.record({ at: fc.nat(2000), byte: fc.integer({ min: 0, max: 255 }) })
    fc.assert(
      fc.property(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 8 }), (seed, edits) => {
        const bytes = Buffer.from(seed)
        for (const { at, byte } of edits) bytes[8 + (at % (bytes.length - 8))] = byte
        const outcome = outcomeOf(bytes)
        expect(outcome === "shape" || outcome instanceof ClarityError).toBe(true)
      }),
      { numRuns: 5000 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        const outcome = outcomeOf(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...tail]))
        expect(outcome === "shape" || outcome instanceof ClarityError).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })
})

function outcomeOf(bytes: Uint8Array, read: (bytes: Uint8Array) => unknown = check): unknown {
  try {
    read(bytes)
    return "shape"
  } catch (error) {
    return error
  }
}
