/** For this room's tests only: puts WebAssembly binaries together, good ones and bad ones. */

export type Type = "i32" | "i64" | "f64"
const codes = { i32: 0x7f, i64: 0x7e, f64: 0x7c } as const

export interface Parts {
  readonly imports?: readonly { readonly module?: string; readonly name: string; readonly type: FunctionType }[]
  /** Bytes of each body after its (absent) locals; `end` is added. */
  readonly functions?: readonly {
    readonly name?: string
    readonly type: FunctionType
    readonly body: readonly number[]
  }[]
  /** [flags, min, max?] of each memory. */
  readonly memories?: readonly (readonly number[])[]
  readonly tables?: readonly (readonly number[])[]
  readonly heapBase?: number
  /** An exported mutable i64 global `state`, index 0 or 1 after the heap base. */
  readonly mutableGlobal?: boolean
  readonly start?: number
  readonly data?: { readonly at: number; readonly bytes: Uint8Array }
  readonly extraSections?: readonly (readonly number[])[]
}

export type FunctionType = readonly [readonly Type[], readonly Type[]]

export function leb(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  return [...bytes, rest]
}

export function sleb(value: number): number[] {
  const bytes: number[] = []
  let rest = BigInt(value)
  for (;;) {
    const byte = Number(rest & 0x7fn)
    rest >>= 7n
    if ((rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)) return [...bytes, byte]
    bytes.push(byte | 0x80)
  }
}

function name(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text)]
  return [...leb(bytes.length), ...bytes]
}

function list(items: readonly (readonly number[])[]): number[] {
  return [...leb(items.length), ...items.flat()]
}

export function section(id: number, body: readonly number[]): number[] {
  return [id, ...leb(body.length), ...body]
}

/** One page of memory with a maximum of `maxPages`, a heap base, and these functions. */
export function plainModule(functions: Parts["functions"], parts: Parts = {}): Uint8Array {
  return buildModule({ memories: [[1, 1, 16]], heapBase: 64, ...(functions ? { functions } : {}), ...parts })
}

export function buildModule(parts: Parts): Uint8Array {
  const { imports = [], functions = [], memories = [], tables = [] } = parts
  const types = [...imports, ...functions].map(({ type: [params, results] }) => [
    0x60,
    ...list(params.map((type) => [codes[type]])),
    ...list(results.map((type) => [codes[type]])),
  ])
  const globals: number[][] = []
  const exports: number[][] = []
  if (memories.length > 0) exports.push([...name("memory"), 2, 0])
  if (parts.heapBase !== undefined) {
    exports.push([...name("__heap_base"), 3, ...leb(globals.length)])
    globals.push([0x7f, 0, 0x41, ...sleb(parts.heapBase | 0), 0x0b])
  }
  if (parts.mutableGlobal) globals.push([0x7e, 1, 0x42, 0, 0x0b])
  functions.forEach((entry, index) => {
    if (entry.name !== undefined) exports.push([...name(entry.name), 0, ...leb(imports.length + index)])
  })
  const bodies = functions.map(({ body }) => {
    const code = [0, ...body, 0x0b]
    return [...leb(code.length), ...code]
  })
  const importBodies = imports.map((entry, index) => [
    ...name(entry.module ?? "env"),
    ...name(entry.name),
    0,
    ...leb(index),
  ])
  const sections = [
    section(1, list(types)),
    ...(imports.length > 0 ? [section(2, list(importBodies))] : []),
    section(3, list(functions.map((_, index) => leb(imports.length + index)))),
    ...(tables.length > 0 ? [section(4, list(tables.map((table) => [0x70, ...encoded(table)])))] : []),
    ...(memories.length > 0 ? [section(5, list(memories.map(encoded)))] : []),
    ...(globals.length > 0 ? [section(6, list(globals))] : []),
    section(7, list(exports)),
    ...(parts.start === undefined ? [] : [section(8, leb(parts.start))]),
    section(10, list(bodies)),
    ...(parts.data
      ? [section(11, [1, 0, 0x41, ...sleb(parts.data.at), 0x0b, ...list([...parts.data.bytes].map((byte) => [byte]))])]
      : []),
    ...(parts.extraSections ?? []),
  ]
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()])
}

function encoded([flags = 0, ...numbers]: readonly number[]): number[] {
  return [flags, ...numbers.flatMap(leb)]
}

/** `i64.const n` */
export function i64(value: number): number[] {
  return [0x42, ...sleb(value)]
}

/** `i32.const n` */
export function i32(value: number): number[] {
  return [0x41, ...sleb(value)]
}

/** loop, branch to its start, end */
export const loopForEver = [0x03, 0x40, 0x0c, 0, 0x0b]
