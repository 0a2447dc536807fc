import { readFileSync } from "node:fs"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { fixture } from "../testing/harness.ts"
import { leb, section } from "../testing/module-builder.ts"
import { v8 } from "../testing/v8.ts"
import { checkModule } from "./check-module.ts"
import { moduleBounds, readModule, type ModuleShape } from "./section-reader.ts"

const modules = ["ints", "strings", "records", "hog"].map((name) => readFileSync(fixture(`${name}.wasm`)))

/** The shape of what passes; undefined for what is refused, which must be by name. */
function passes(bytes: Uint8Array): ModuleShape | undefined {
  try {
    const shape = readModule(bytes)
    checkModule(shape)
    return shape
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ClarityError)
    return undefined
  }
}

/** What passes here and is a module for V8 too keeps our bounds by V8's own account. */
function agrees(bytes: Buffer): void {
  const shape = passes(bytes)
  if (shape === undefined || !v8.validate(bytes)) return
  const module = new v8.Module(bytes)
  expect(v8.Module.imports(module).map(({ kind }) => kind)).toEqual(shape.imports.map(() => "function"))
  expect(v8.Module.imports(module).map(({ name }) => name)).toEqual(shape.imports.map(({ name }) => name))
  const exported = v8.Module.exports(module)
  expect(exported.some(({ kind, name }) => kind === "memory" && name === "memory")).toBe(shape.exportsMemory)
  expect(shape.memory?.maxPages ?? 0).toBeLessThanOrEqual(moduleBounds.pages)
}

describe("the reader of WebAssembly sections", () => {
  it("takes real modules with bytes changed, cut or doubled for what V8 takes them for, or refuses them by name", () => {
    const edit = fc.record({
      at: fc.nat(),
      kind: fc.constantFrom("set", "cut", "insert", "repeat"),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    })
    fc.assert(
      fc.property(fc.constantFrom(...modules), fc.array(edit, { minLength: 1, maxLength: 5 }), (module, edits) => {
        let bytes = Buffer.from(module)
        for (const { at, kind, bytes: given } of edits) {
          const place = 8 + (at % Math.max(1, bytes.length - 8))
          if (kind === "set") bytes[place] = given[0] ?? 0
          else if (kind === "cut") bytes = bytes.subarray(0, place)
          else if (kind === "insert") bytes = Buffer.concat([bytes.subarray(0, place), given, bytes.subarray(place)])
          else bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(Math.max(8, place - 64))])
        }
        agrees(bytes)
      }),
    )
  })

  it("never reads past a section, whatever sizes and counts are claimed", () => {
    const head = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    const claimed = fc
      .tuple(fc.nat(14), fc.nat(0xffff_ffff), fc.uint8Array({ maxLength: 40 }))
      .map(([id, count, rest]) => section(id, [...leb(count), ...rest]))
    fc.assert(
      fc.property(fc.array(claimed, { maxLength: 6 }), fc.uint8Array({ maxLength: 12 }), (sections, tail) => {
        agrees(Buffer.concat([head, Buffer.from(sections.flat()), Buffer.from(tail)]))
      }),
    )
  })
})
