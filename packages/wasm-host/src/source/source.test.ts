import { readdirSync, readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import path from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { readModule } from "../module/section-reader.ts"
import { fixture } from "../testing/harness.ts"
import { signatureText } from "../types.ts"
import { parseSource } from "./parse.ts"
import { readSourceTree } from "./read-tree.ts"
import { signaturesOf, staleness } from "./signatures.ts"

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "clarity-source-"))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function signatures(files: Record<string, string>) {
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text)
  const tree = await readSourceTree(path.join(folder, "main.clarity"))
  const { functions, rejected } = signaturesOf(tree)
  return { tree, functions, rejected, texts: functions.map(signatureText) }
}

describe("the source reader", () => {
  it("agrees with every fixture's module", async () => {
    const names = readdirSync(fixture(".")).filter((name) => name.endsWith(".clarity"))
    expect(names).toHaveLength(17)
    for (const name of names) {
      const tree = await readSourceTree(fixture(name))
      const { functions } = readModule(readFileSync(fixture(name.replace(".clarity", ".wasm"))))
      expect(staleness(tree, functions), name).toBeUndefined()
    }
  })

  it("is not led astray by texts, comments and bodies", async () => {
    const { functions, texts } = await signatures({
      "main.clarity": `module M
const greeting = "} export function not_me() -> Int64 { 1 }"
// Two lines
// of comment.
export function a(x: Int64) -> String { "brace } and \\" quote \${ f("}") ++ "\${ g({ k: "}" }) }" }" }
// not above: a blank line follows

export effect[Log, Time] function b(
  xs: List<Map<String, Option<Bytes>>>, // trailing
  done: Bool,
) -> Result<Unit, String> { """
  } // " export function nor_me() -> Int64
  """ }
let y = 1 // trailing comment is no doc
export function c() { }
function hidden() -> Int64 { 1 }
export function last(t: Timestamp) -> Float64 { match t { _ -> 1.5e3 } }`,
    })
    expect(texts).toEqual([
      "a(x: Int64) -> String",
      "effect[Log, Time] b(xs: List<Map<String, Option<Bytes>>>, done: Bool) -> Result<Unit, String>",
      "c() -> Unit",
      "last(t: Timestamp) -> Float64",
    ])
    expect(functions.map(({ doc }) => doc)).toEqual(["Two lines\nof comment.", "", "", ""])
  })

  it("follows aliases, generics and imported types, and says why others are not offered", async () => {
    const { functions, rejected } = await signatures({
      "main.clarity": `import { Ship, Missing } from "./ships"
import { other } from "std/list"
type Id = Int64
type Pair<A, B> = { first: A, second: B }
type Tree = { left: Option<Tree> }
type Handler = (Int64) -> Int64
export function ok(id: Id, ship: Ship, p: Pair<Id, List<Id>>) -> Option<Ship> { None }
export function tree(t: Tree) -> Int64 { 1 }
export function handler(h: Handler) -> Int64 { 1 }
export function inline(h: (Int64, Int64) -> Bool) -> Int64 { 1 }
export function generic<T>(x: T) -> T { x }
export function stranger(x: Strange) -> Int64 { 1 }
export function unit(x: Unit) -> Int64 { 1 }
export function badkey(m: Map<Bool, Int64>) -> Int64 { 1 }`,
      "ships.clarity": `import { Port } from "./ports.clarity"
export type Ship = | Raft | Boat(home: Port, crew: Int64)`,
      "ports.clarity": `export type Port = { name: String }`,
    })
    expect(functions.map(({ name }) => name)).toEqual(["ok"])
    expect(functions[0]?.params[1]?.type).toMatchObject({
      kind: "Union",
      variants: [
        { name: "Raft" },
        { name: "Boat", fields: [{ type: { kind: "Record", fields: [{ name: "name" }] } }, { name: "crew" }] },
      ],
    })
    expect(functions[0]?.params[2]?.type).toMatchObject({
      fields: [{ type: { kind: "Int64" } }, { type: { kind: "List" } }],
    })
    const reasons = Object.fromEntries(rejected.map(({ item, reason }) => [item, reason]))
    expect(reasons).toEqual({
      tree: "type Tree holds itself",
      handler: "it takes or gives a function, which cannot cross the wire",
      inline: "it takes or gives a function, which cannot cross the wire",
      generic: "it is generic",
      stranger: "type Strange is not declared in the sources that can be read",
      unit: "it takes a Unit, which has no value",
      badkey: "a map's keys may be String, Int64 or Timestamp, not Bool",
    })
  })

  it("bounds types that unfold without end", async () => {
    const types = Array.from({ length: 20 }, (_, n) => `type T${n} = { a: T${n + 1}, b: T${n + 1} }`).join("\n")
    const { rejected } = await signatures({
      "main.clarity": `${types}\ntype T20 = Int64\nexport function f(x: T0) -> Int64 { 1 }`,
    })
    expect(rejected[0]?.reason).toContain("more than 2000 parts")
  })

  it("names the line it cannot read", () => {
    const bad: readonly (readonly [string, RegExp])[] = [
      ['module M\n"', /line 2: a text has no end/],
      ["export function f(", /line 1: it ends in the middle/],
      ["module M\n\nexport function f(a Int64) -> Int64 { 1 }", /line 3: expected ":"/],
      ["export function f() -> Int64 { ", /"\{" is never closed/],
      ["import { a } from b", /line 1: an import has no path/],
    ]
    for (const [text, message] of bad) expect(() => parseSource(text)).toThrow(message)
  })

  it("answers any text with declarations or a ClarityError", () => {
    const seeds = ["records", "strings", "maps"].map((name) => readFileSync(fixture(`${name}.clarity`), "utf8"))
    const piece = fc.constantFrom(
      '"',
      '"""',
      "${",
      "}",
      "{",
      "(",
      "<",
      ">",
      "|",
      "//",
      "\n",
      "\\",
      "type ",
      "export ",
      "-> ",
      "=",
      ",",
      "function ",
    )
    const edits = fc.array(fc.tuple(fc.nat(2000), piece), { maxLength: 6 })
    fc.assert(
      fc.property(fc.constantFrom(...seeds), edits, (seed, changes) => {
        let text = seed
        for (const [at, insert] of changes)
          text = text.slice(0, at % text.length) + insert + text.slice(at % text.length)
        try {
          expect(parseSource(text).functions).toBeInstanceOf(Array)
        } catch (error) {
          expect(error).toBeInstanceOf(ClarityError)
        }
      }),
      { numRuns: 3000 },
    )
  })
})
