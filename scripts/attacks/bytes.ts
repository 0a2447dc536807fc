import * as v from "valibot"

/** How data files write bytes: texts as UTF-8, hex where no text can say it, repetitions, JSON, and lists of all these. */
export type Part = string | { hex: string } | { repeat: Part; times: number } | { json: unknown } | readonly Part[]

export const partSchema: v.GenericSchema<unknown, Part> = v.union([
  v.string(),
  v.strictObject({ hex: v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{2} ?)*$/)) }),
  v.strictObject({ repeat: v.lazy(() => partSchema), times: v.pipe(v.number(), v.integer(), v.minValue(0)) }),
  v.strictObject({ json: v.unknown() }),
  v.array(v.lazy(() => partSchema)),
])

/** `fill` replaces what stands for values known only at run time, in texts. */
export function bytesOf(part: Part, fill: (text: string) => string): Buffer {
  if (typeof part === "string") return Buffer.from(fill(part))
  if ("hex" in part) return Buffer.from(part.hex.replaceAll(" ", ""), "hex")
  if ("json" in part) return Buffer.from(fill(JSON.stringify(part.json)))
  if (!("repeat" in part)) return Buffer.concat(part.map((each) => bytesOf(each, fill)))
  const once = bytesOf(part.repeat, fill)
  return Buffer.alloc(once.length * part.times, once)
}
