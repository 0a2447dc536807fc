import * as fc from "fast-check"
import { expect, it } from "vitest"
import { duplicateKey } from "./duplicate-keys.ts"

it.each([
  ['{"a":1,"a":2}', "a"],
  ['{"a":{"b":1,"c":[{"d":1},{"d":2,"d":3}]}}', "d"],
  ['{"a":{"a":{"a":1}},"b":"a","a":1}', "a"],
  ['{"a":["a","a"],"b":["a"]}', undefined],
  ['{"a":"{\\"x\\":1,\\"x\\":2}","x":"a","b":"x"}', undefined],
  ['{"a":"\\\\","a":1}', "a"],
  ['{"\\u0061":1,"a":2}', "a"],
  ['{"a":[],"b":{},"c":[[]],"b":1}', "b"],
  ["[1,2,{}]", undefined],
  ['"a"', undefined],
])("%s: %s", (text, key) => {
  expect(duplicateKey(text)).toBe(key)
})

it("finds none in what JSON.stringify wrote, and the one that was put in", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), fc.boolean(), (value, indented) => {
      const text = JSON.stringify(value, null, indented ? 2 : undefined)
      expect(duplicateKey(text)).toBeUndefined()
      const [key] = Object.keys(value)
      const doubled = `${text.slice(0, text.lastIndexOf("}"))},${JSON.stringify(key)}:0}`
      expect(duplicateKey(doubled)).toBe(key)
    }),
  )
})
