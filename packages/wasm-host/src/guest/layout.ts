import type { ClarityType, Field } from "../types.ts"

/** Bytes a value of that type takes as a field; also its alignment. */
export function sizeOf(type: ClarityType): 0 | 4 | 8 {
  if (type.kind === "Unit") return 0
  return type.kind === "Int64" || type.kind === "Float64" || type.kind === "Timestamp" ? 8 : 4
}

/** Bytes between the elements of a list. */
export function strideOfType(type: ClarityType): 4 | 8 {
  return sizeOf(type) === 8 ? 8 : 4
}

export interface Layout {
  /** Offset of each field from the start. */
  readonly offsets: readonly number[]
  readonly size: number
}

/** Fields in order, each aligned to its size, the whole padded to 4. */
export function layoutOf(fields: readonly Field[]): Layout {
  const known = layouts.get(fields)
  if (known) return known
  let at = 0
  const offsets = fields.map(({ type }) => {
    const size = sizeOf(type)
    if (size > 0) at = Math.ceil(at / size) * size
    const offset = at
    at += size
    return offset
  })
  const layout = { offsets, size: Math.ceil(at / 4) * 4 }
  layouts.set(fields, layout)
  return layout
}

const layouts = new WeakMap<readonly Field[], Layout>()

/** Where the fields of a union, Option or Result begin, behind the tag. */
export const payloadOffset = 8
