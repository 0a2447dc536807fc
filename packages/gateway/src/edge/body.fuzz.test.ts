import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { parseBytes } from "./body.ts"
import { checkStructure } from "./structure.ts"

/** A JSON text put together by hand, so that it can say what no serialiser writes: keys twice, in any spelling. */
interface Text {
  readonly text: string
  readonly repeated: boolean
  readonly depth: number
  readonly items: number
}

const leaf = fc
  .oneof(
    fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.constantFrom("true", "false", "null", '"}],:{\\""'),
  )
  .map((text): Text => ({ text, repeated: false, depth: 0, items: 0 }))

/** One of several spellings of a key. */
function spelled(key: string, how: number): string {
  return `"${[...key]
    .map((char, at) => ((how >> (at % 8)) & 1 ? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}` : char))
    .join("")}"`
}

const { json } = fc.letrec<{ json: Text; object: Text; array: Text }>((tie) => ({
  json: fc.oneof({ maxDepth: 6 }, leaf, tie("object"), tie("array")),
  object: fc
    .array(fc.tuple(fc.constantFrom("a", "b", "name", "__proto__", "constructor", "é"), fc.nat(255), tie("json")), {
      maxLength: 20,
    })
    .map((members): Text => {
      const keys = members.map(([key]) => key)
      return {
        text: `{${members.map(([key, how, value]) => `${spelled(key, how)} : ${value.text}`).join(",")}}`,
        repeated: new Set(keys).size < keys.length || members.some(([, , value]) => value.repeated),
        depth: 1 + Math.max(0, ...members.map(([, , value]) => value.depth)),
        items: Math.max(1, members.length) + members.reduce((sum, [, , value]) => sum + value.items, 0),
      }
    }),
  array: fc.array(tie("json"), { maxLength: 6 }).map((elements): Text => ({
    text: `[${elements.map(({ text }) => text).join(" ,")}]`,
    repeated: elements.some(({ repeated }) => repeated),
    depth: 1 + Math.max(0, ...elements.map(({ depth }) => depth)),
    items: Math.max(1, elements.length) + elements.reduce((sum, { items }) => sum + items, 0),
  })),
}))

const structure = (text: string, limits?: Parameters<typeof checkStructure>[1]) => () =>
  checkStructure(Buffer.from(text), limits)

describe("the body scanner", () => {
  it("finds every key that is there twice, however it is spelled, and no other", () => {
    fc.assert(
      fc.property(json, ({ text, repeated }) => {
        if (repeated) expect(structure(text)).toThrow(/same key twice/)
        else expect(structure(text)).not.toThrow()
      }),
    )
  })

  it("counts depth and items exactly: the bound passes, one less does not", () => {
    fc.assert(
      fc.property(
        json.filter(({ repeated, depth }) => !repeated && depth > 0),
        ({ text, depth, items }) => {
          expect(structure(text, { maxDepth: depth, maxItems: items })).not.toThrow()
          expect(structure(text, { maxDepth: depth - 1, maxItems: items })).toThrow(/deeper/)
          expect(structure(text, { maxDepth: depth, maxItems: items - 1 })).toThrow(/items/)
        },
      ),
    )
  })

  it("gives what JSON.parse gives, or refuses", () => {
    fc.assert(
      fc.property(
        json.filter(({ repeated }) => !repeated),
        ({ text }) => {
          expect(JSON.stringify(parseBytes(Buffer.from(text)))).toBe(JSON.stringify(JSON.parse(text)))
        },
      ),
    )
  })

  it("answers any bytes whatever with a value or a named error", () => {
    const mutated = fc
      .tuple(json, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }))
      .map(([{ text }, edits]) => {
        const bytes = Buffer.from(text)
        for (const [at, byte] of edits) if (bytes.length > 0) bytes[at % bytes.length] = byte
        return bytes
      })
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 400 }).map(Buffer.from)), (bytes) => {
        let value: unknown
        try {
          value = parseBytes(bytes)
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ClarityError)
          return
        }
        expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(bytes.toString("utf8"))))
      }),
    )
  })
})
