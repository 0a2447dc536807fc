import { expect, it } from "vitest"
import { shapeOf } from "./shape.ts"

it("tells names, types and sizes of the top level, and no value", () => {
  const args = {
    text: "grün",
    n: 3,
    yes: true,
    none: null,
    list: ["secret", "secret"],
    deep: { secret: { secret: 1 } },
  }
  expect(shapeOf(args)).toEqual([
    { name: "text", type: "string", bytes: 5 },
    { name: "n", type: "number" },
    { name: "yes", type: "boolean" },
    { name: "none", type: "null" },
    { name: "list", type: "array", items: 2 },
    { name: "deep", type: "object", items: 1 },
  ])
})

it("is bounded, whatever is handed in", () => {
  const args = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`${i}_${"k".repeat(5000)}`, i]))
  const shape = shapeOf(args)
  expect(shape).toHaveLength(33)
  expect(shape.at(-1)).toEqual({ more: 968 })
  expect(JSON.stringify(shape).length).toBeLessThan(4096)
})
