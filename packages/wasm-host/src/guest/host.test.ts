import * as fc from "fast-check"
import { beforeEach, describe, expect, it } from "vitest"
import type { ClarityType } from "../types.ts"
import { hostImports } from "../module/host-imports.ts"
import { GuestFault, ResultTooLarge } from "./fault.ts"
import { createHost, type Host } from "./host.ts"
import { importsOf } from "./run-call.ts"
import { webAssembly } from "./webassembly.ts"

const maxPages = 4
let host: Host
let memory: InstanceType<typeof webAssembly.Memory>
let imports: Record<string, (...args: unknown[]) => unknown>

beforeEach(() => {
  host = createHost({}, () => {})
  host.log.begin()
  memory = new webAssembly.Memory({ initial: 1, maximum: maxPages })
  host.heap.attach(memory, 1024, maxPages * 65_536)
  imports = importsOf(host) as typeof imports
})

const granted = Object.entries(hostImports)
  .filter(([effect]) => ["pure", "Log", "Time", "Random"].includes(effect))
  .flatMap(([, functions]) => Object.entries(functions))

const call = (name: string, ...args: unknown[]) => imports[name]?.(...args)
const text = (value: string) => host.heap.writeText(value)
const read = (at: unknown) => host.heap.text(at as number)

describe("host functions", () => {
  it("are there for every granted import and for no other", () => {
    expect(Object.keys(imports).sort()).toEqual(granted.map(([name]) => name).sort())
  })

  it("answer hostile arguments with a value or a fault, and never read outside the memory", () => {
    const pointer = fc.oneof(
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      fc.integer({ min: 0, max: 70_000 }),
      fc.constantFrom(0, 4, 1024, 65_532, 65_536, -1, -4, -(2 ** 31), 2 ** 31 - 1),
    )
    const long = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -4n, max: 300n }))
    const args = { i: pointer, l: long, d: fc.double() } as const
    const one = fc.constantFrom(...granted.filter(([name]) => name !== "sleep")).chain(([name, signature]) => {
      const letters = [...(signature.split(">")[0] ?? "")] as ("i" | "l" | "d")[]
      return fc.tuple(fc.constant(name), fc.tuple(...letters.map((letter): fc.Arbitrary<unknown> => args[letter])))
    })
    const noise = fc.uint8Array({ minLength: 256, maxLength: 256 })
    const pages = fc.constantFrom(0, 0, 0, 1)
    fc.assert(
      fc.property(noise, fc.array(one, { minLength: 1, maxLength: 6 }), pages, (bytes, calls, grow) => {
        memory = new webAssembly.Memory({ initial: 1, maximum: maxPages })
        host.heap.attach(memory, 1024, maxPages * 65_536)
        host.maps.clear()
        host.log.begin()
        new Uint8Array(memory.buffer).set(bytes, 0)
        new Uint8Array(memory.buffer).set(bytes, 65_536 - 256)
        for (const [name, values] of calls) {
          // The guest may grow its memory between two calls, which empties every view of it.
          if (grow > 0 && memory.buffer.byteLength < 2 * 65_536) memory.grow(grow)
          try {
            const value = call(name, ...values)
            expect(["number", "bigint", "undefined"]).toContain(typeof value)
          } catch (error) {
            if (!(error instanceof GuestFault))
              throw new Error(`${name}(${values.map(String).join(", ")})`, { cause: error })
          }
        }
        return memory.buffer.byteLength <= maxPages * 65_536
      }),
      { numRuns: 4000 },
    )
  })

  it("read results at hostile addresses with a value or a fault", () => {
    const plain = fc.constantFrom<ClarityType>(
      { kind: "String" },
      { kind: "Bytes" },
      { kind: "List", element: { kind: "Int64" } },
      { kind: "List", element: { kind: "List", element: { kind: "String" } } },
      { kind: "Option", inner: { kind: "String" } },
      { kind: "Result", ok: { kind: "Float64" }, err: { kind: "String" } },
      {
        kind: "Record",
        name: "R",
        fields: [
          { name: "a", type: { kind: "String" } },
          { name: "b", type: { kind: "Int64" } },
        ],
      },
      {
        kind: "Union",
        name: "U",
        variants: [
          { name: "A", fields: [] },
          { name: "B", fields: [{ name: "x", type: { kind: "Bool" } }] },
        ],
      },
      { kind: "Map", key: "String", value: { kind: "String" } },
    )
    const address = fc.oneof(
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      fc.integer({ min: 65_000, max: 65_540 }),
    )
    fc.assert(
      fc.property(plain, address, fc.uint8Array({ minLength: 600, maxLength: 600 }), (type, at, bytes) => {
        new Uint8Array(memory.buffer).set(bytes.subarray(0, 536), 65_000)
        try {
          expect(host.values.lift(type, at, 10_000)).toBeDefined()
        } catch (error) {
          expect(error instanceof GuestFault || error instanceof ResultTooLarge).toBe(true)
        }
      }),
      { numRuns: 5000 },
    )
  })

  it("bounds a result that shares its parts over and over", () => {
    // 30 lists of two, each holding the one before twice: 2^30 elements out of 400 bytes.
    let list = host.lists.ofTexts(["x", "x"])
    let type: ClarityType = { kind: "List", element: { kind: "String" } }
    for (let depth = 0; depth < 30; depth += 1) {
      const outer = host.lists.create(2, 4)
      host.heap.setI32(outer + 4, list)
      host.heap.setI32(outer + 8, list)
      list = outer
      type = { kind: "List", element: type }
    }
    expect(() => host.values.lift(type, list, 1_000_000)).toThrow(ResultTooLarge)
  })

  it("give what the language's own host gives", () => {
    const cases: readonly (readonly [string, unknown[], unknown])[] = [
      ["substring", [text("abcdef"), 2n, 3n], "cde"],
      ["substring", [text("abcdef"), -1n, 3n], "ab"],
      ["substring", [text("abcdef"), 3n, -2n], "bc"],
      ["char_at", [text("a😀"), 1n], "\ufffd"],
      ["char_at", [text("a"), 5n], ""],
      ["string_replace", [text("aXbX"), text("X"), text("$&")], "a$&b$&"],
      ["string_replace", [text("ab"), text(""), text("-")], "ab"],
      ["pad_left", [text("7"), 3n, text("")], "  7"],
      ["pad_right", [text("7"), 4n, text("ab")], "7aba"],
      ["url_decode", [text("%zz")], "%zz"],
      ["url_encode", [text("a b/ü")], "a%20b%2F%C3%BC"],
      ["json_escape_string", [text('a"\n')], 'a\\"\\n'],
      ["string_concat", [text("\ufeffa"), text("b")], "\ufeffab"],
      ["float_to_string", [1e21], "1e+21"],
      ["float_to_string", [-0], "0"],
      ["sha256", [text("abc")], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
      ["chunk_text", [text("abcde"), 2n], '["ab","cd","e"]'],
      ["timestamp_to_string", [0n], "1970-01-01T00:00:00.000Z"],
      ["arena_restore_keeping_str", [1024n, text("kept")], "kept"],
    ]
    for (const [name, args, value] of cases) expect(read(call(name, ...args)), name).toBe(value)
    const numbers: readonly (readonly [string, unknown[], unknown])[] = [
      ["string_length", [text("a😀")], 3n],
      ["index_of", [text("a😀b"), text("b")], 3n],
      ["char_code", [text("😀")], 128_512n],
      ["float_to_int", [2 ** 63], -(2n ** 63n)],
      ["abs_int", [-(2n ** 63n)], -(2n ** 63n)],
      ["f64_rem", [-5.5, 2], -1.5],
      ["list_get_i64", [host.lists.create(0, 8), 3n], 0n],
      ["regex_match", [text("("), text("x")], 0],
      ["cosine_similarity", [text("[1,0]"), text("[1,0]")], 1],
      ["cosine_similarity", [text("[1]"), text("[1,0]")], 0],
      ["tty_is_tty", [], 0],
      ["policy_is_url_allowed", [text("http://x")], 0],
      ["policy_is_effect_allowed", [text("Log")], 1],
      ["policy_is_effect_allowed", [text("FileSystem")], 0],
      ["random_int", [5n, 1n], 5n],
    ]
    for (const [name, args, value] of numbers) expect(call(name, ...args), name).toBe(value)
  })

  it("read JSON without rounding or reaching into prototypes", () => {
    const option = (at: unknown) => (host.heap.i32(at as number) === 1 ? null : read(host.heap.i32((at as number) + 8)))
    const get = (name: string, doc: string, key: string | bigint) =>
      option(call(name, text(doc), typeof key === "string" ? text(key) : key))
    expect(get("json_get", '{"id":9007199254740993}', "id")).toBe("9007199254740993")
    expect(get("json_get", '{"o":{"id":9007199254740993}}', "o")).toBe('{"id":9007199254740993}')
    expect(get("json_get", '{"a":1}', "constructor")).toBe(null)
    expect(get("json_get", '{"__proto__":"own"}', "__proto__")).toBe("own")
    expect(get("json_get", '{"a":null}', "a")).toBe(null)
    expect(get("json_get_path", '{"a":[{"b":1}]}', "a.0.b")).toBe(null)
    expect(get("json_get_nested", '[{"b":[10,20]}]', "0.b.1")).toBe("20")
    expect(get("json_array_get", "[null]", 0n)).toBe("null")
    expect(get("json_array_get", "[1]", -1n)).toBe(null)
    expect(option(call("json_parse", text('{"a":[1]}')))).toBe(null)
    const parsed = call("json_parse_object", text('{"b":[1,2],"a":"x","n":null}')) as number
    expect(read(call("json_stringify", host.heap.i32(parsed + 8)))).toBe('{"b":"[1,2]","a":"x","n":null}')
    expect(read(call("json_stringify_object", host.heap.i32(parsed + 8)))).toBe('{"b":"[1,2]","a":"x","n":"null"}')
  })

  it("draw whole numbers evenly and exactly, over all of Int64", () => {
    const seen = new Set<unknown>()
    for (let round = 0; round < 400; round += 1) seen.add(call("random_int", -1n, 2n))
    expect([...seen].sort()).toEqual([-1n, 0n, 1n, 2n])
    const wide = call("random_int", -(2n ** 63n), 2n ** 63n - 1n) as bigint
    expect(wide >= -(2n ** 63n) && wide < 2n ** 63n).toBe(true)
  })
})

describe("maps", () => {
  it("are values: every version stays as it was (against plain copies)", () => {
    const step = fc.record({
      from: fc.nat(),
      key: fc.constantFrom("a", "b", "c", "d"),
      value: fc.option(fc.integer(), { nil: null }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        host.maps.clear()
        const versions = [{ handle: host.maps.create(), model: new Map<string, number>() }]
        for (const { from, key, value } of steps) {
          const { handle, model } = versions[from % versions.length] ?? { handle: 0, model: new Map<string, number>() }
          const copy = new Map(model)
          if (value === null) copy.delete(key)
          else copy.set(key, value)
          versions.push({
            handle: value === null ? host.maps.remove(handle, key) : host.maps.set(handle, key, value),
            model: copy,
          })
        }
        for (const { handle, model } of versions) {
          expect(host.maps.size(handle)).toBe(model.size)
          expect([...host.maps.entries(handle)]).toEqual([...model])
        }
      }),
    )
  })
})
