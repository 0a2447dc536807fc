import { moduleBounds, type TableSection } from "./section-reader.ts"

/** The module with a maximum on every table that had none, so that it cannot grow one without bound. */
export function capTables(bytes: Uint8Array, section: TableSection): Uint8Array {
  const body = leb(section.minima.length)
  for (const { min, max } of section.minima) body.push(0x70, 1, ...leb(min), ...leb(max ?? moduleBounds.tableElements))
  const head = [4, ...leb(body.length)]
  return Buffer.concat([bytes.subarray(0, section.start), Buffer.from([...head, ...body]), bytes.subarray(section.end)])
}

function leb(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return bytes
}
