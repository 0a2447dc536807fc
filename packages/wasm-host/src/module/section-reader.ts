import { ByteReader, refusal } from "./byte-reader.ts"

/** What a module declares, read from its bytes alone: nothing is compiled. */
export interface ModuleShape {
  readonly imports: readonly ImportedFunction[]
  /** Exported functions in order. */
  readonly functions: readonly ExportedFunction[]
  readonly memory: { readonly minPages: number; readonly maxPages: number | undefined } | undefined
  readonly exportsMemory: boolean
  /** Value of the exported `__heap_base`; undefined when there is none or it is not an immutable i32 constant. */
  readonly heapBase: number | undefined
  readonly start: boolean
  /** Nothing but its memory can change: no mutable globals, tables, passive segments or start function. */
  readonly memoryOnly: boolean
  /** Tables without a maximum: where the section lies, so that `capTables` can give them one. */
  readonly openTables: TableSection | undefined
}

export interface ImportedFunction {
  readonly module: string
  readonly name: string
  readonly type: FunctionType
}

export interface ExportedFunction {
  readonly name: string
  readonly type: FunctionType
}

export interface FunctionType {
  readonly params: readonly WasmType[]
  readonly results: readonly WasmType[]
}

export type WasmType = "i32" | "i64" | "f32" | "f64" | "v128" | "funcref" | "externref"

export interface TableSection {
  /** First byte of the section (its id) and the byte after it. */
  readonly start: number
  readonly end: number
  readonly minima: readonly { readonly min: number; readonly max: number | undefined }[]
}

/** Bounds of security finding 6: sizes are checked before a byte reaches the compiler. */
export const moduleBounds = { bytes: 10 * 1024 * 1024, functions: 20_000, pages: 1024, tableElements: 65_536 } as const

const sectionNames = [
  "custom",
  "type",
  "import",
  "function",
  "table",
  "memory",
  "global",
  "export",
  "start",
  "element",
  "code",
  "data",
  "datacount",
]
/** The order sections stand in: the data count comes before the code it helps to check. */
const sectionOrder = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10]
const valueTypes: Readonly<Record<number, WasmType>> = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
  0x7b: "v128",
  0x70: "funcref",
  0x6f: "externref",
}

/**
 * Reads a module section by section and refuses what no module made by clarityc has: other imports than functions, a
 * second, shared or 64-bit memory, tables or functions beyond the bounds, unknown sections, a file that ends early.
 * Throws ClarityError (`invalid_manifest`) saying what and where.
 */
export function readModule(bytes: Uint8Array): ModuleShape {
  if (bytes.length > moduleBounds.bytes) {
    throw refusal(
      `the module has ${bytes.length} bytes, more than the 10 MiB allowed`,
      "split it into smaller services",
    )
  }
  const head = [0x00, 0x61, 0x73, 0x6d]
  if (bytes.length < 8 || head.some((byte, index) => bytes[index] !== byte)) {
    throw refusal("the file is not a WebAssembly module", "give the .wasm file that clarityc wrote")
  }
  if (bytes[4] !== 1 || bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) {
    throw refusal("the file is WebAssembly of a version other than 1", "give the .wasm file that clarityc wrote")
  }
  const reader = new SectionReader(bytes)
  return reader.read()
}

class SectionReader {
  readonly #bytes: Uint8Array
  readonly #types: FunctionType[] = []
  readonly #imports: ImportedFunction[] = []
  readonly #functions: FunctionType[] = []
  readonly #exported: { name: string; index: number }[] = []
  readonly #globals: { mutable: boolean; value: number | undefined }[] = []
  #declared = 0
  #bodies = 0
  #memory: ModuleShape["memory"]
  #exportsMemory = false
  #heapBaseIndex: number | undefined
  #start = false
  #memoryOnly = true
  #openTables: TableSection | undefined

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  read(): ModuleShape {
    const all = new ByteReader(this.#bytes, 8, this.#bytes.length, "between sections")
    let last = 0
    while (!all.done) {
      const start = all.offset
      const id = all.byte()
      const name = sectionNames[id]
      if (name === undefined) throw all.fail(`section ${id} is unknown`)
      const order = sectionOrder[id] ?? 0
      if (id !== 0 && order <= last) throw all.fail(`the ${name} section is out of order or there twice`)
      if (id !== 0) last = order
      const size = all.u32()
      const from = all.offset
      if (size > this.#bytes.length - from) {
        const there = this.#bytes.length - from
        throw all.fail(`it is cut short: the ${name} section has ${size} bytes, the file ends after ${there}`)
      }
      all.skip(size)
      const section = new ByteReader(this.#bytes, from, from + size, `${name} section`)
      this.#section(id, section, start)
      if (id !== 0 && id !== 11 && id !== 9 && !section.done) throw section.fail("there are bytes too many")
    }
    if (this.#declared !== this.#bodies) {
      throw all.fail(`it is cut short: ${this.#declared} functions are declared, ${this.#bodies} have a body`)
    }
    const base = this.#heapBaseIndex === undefined ? undefined : this.#globals[this.#heapBaseIndex]
    return {
      imports: this.#imports,
      functions: this.#exported.map(({ name, index }) => {
        const type = this.#functions[index]
        if (!type) throw all.fail(`export "${name.slice(0, 80)}" names a function that is not there`)
        return { name, type }
      }),
      memory: this.#memory,
      exportsMemory: this.#exportsMemory,
      heapBase: base && !base.mutable ? base.value : undefined,
      start: this.#start,
      memoryOnly: this.#memoryOnly,
      openTables: this.#openTables,
    }
  }

  #section(id: number, reader: ByteReader, start: number): void {
    if (id === 1) this.#typeSection(reader)
    else if (id === 2) this.#importSection(reader)
    else if (id === 3) this.#functionSection(reader)
    else if (id === 4) this.#tableSection(reader, start)
    else if (id === 5) this.#memorySection(reader)
    else if (id === 6) this.#globalSection(reader)
    else if (id === 7) this.#exportSection(reader)
    else if (id === 8) {
      reader.u32()
      this.#memoryOnly = false
      this.#start = true
    } else if (id === 10) {
      this.#bodies = reader.count("functions", moduleBounds.functions)
      for (let left = this.#bodies; left > 0; left -= 1) reader.skip(reader.u32())
    } else if (id === 11) this.#dataSection(reader)
    else if (id === 9) this.#memoryOnly = false
    else if (id === 12) reader.u32()
  }

  #typeSection(reader: ByteReader): void {
    for (let left = reader.count("types", moduleBounds.functions); left > 0; left -= 1) {
      if (reader.byte() !== 0x60) throw reader.fail("a type is not that of a function")
      this.#types.push({ params: this.#valueTypes(reader), results: this.#valueTypes(reader) })
    }
  }

  #valueTypes(reader: ByteReader): WasmType[] {
    return Array.from({ length: reader.count("values in a type", 1000) }, () => this.#valueType(reader))
  }

  #valueType(reader: ByteReader): WasmType {
    const type = valueTypes[reader.byte()]
    if (!type) throw reader.fail("a value type is unknown")
    return type
  }

  #importSection(reader: ByteReader): void {
    for (let left = reader.count("imports", 1000); left > 0; left -= 1) {
      const module = reader.name()
      const name = reader.name()
      const kind = reader.byte()
      if (kind !== 0) {
        const what = ["function", "table", "memory", "global"][kind] ?? "thing of another kind"
        throw reader.fail(
          `it imports a ${what} ("${module.slice(0, 80)}.${name.slice(0, 80)}"); only functions may be imported`,
        )
      }
      const type = this.#typeAt(reader)
      this.#imports.push({ module, name, type })
      this.#functions.push(type)
    }
  }

  #typeAt(reader: ByteReader): FunctionType {
    const type = this.#types[reader.u32()]
    if (!type) throw reader.fail("a function has a type that is not there")
    return type
  }

  #functionSection(reader: ByteReader): void {
    this.#declared = reader.count("functions", moduleBounds.functions)
    for (let left = this.#declared; left > 0; left -= 1) this.#functions.push(this.#typeAt(reader))
  }

  #tableSection(reader: ByteReader, start: number): void {
    this.#memoryOnly = false
    const minima: { min: number; max: number | undefined }[] = []
    let total = 0
    for (let left = reader.count("tables", 8); left > 0; left -= 1) {
      if (reader.byte() !== 0x70) throw reader.fail("a table holds something other than functions")
      const flags = reader.byte()
      if (flags > 1) throw reader.fail("a table is shared or has 64-bit indices")
      const min = reader.u32()
      const max = flags === 1 ? reader.u32() : undefined
      total += Math.max(min, max ?? 0)
      if (total > moduleBounds.tableElements) {
        throw reader.fail(
          `its tables may grow to ${total} elements, more than the ${moduleBounds.tableElements} allowed`,
        )
      }
      minima.push({ min, max })
    }
    if (minima.some((table) => table.max === undefined)) this.#openTables = { start, end: reader.end, minima }
  }

  #memorySection(reader: ByteReader): void {
    const count = reader.u32()
    if (count > 1) throw reader.fail(`it has ${count} memories; one is allowed`)
    if (count === 0) return
    const flags = reader.byte()
    if (flags & 0x04) throw reader.fail("its memory is 64-bit")
    if (flags & 0x02) throw reader.fail("its memory is shared")
    if (flags > 1) throw reader.fail("its memory is of an unknown kind")
    const minPages = reader.u32()
    const maxPages = flags === 1 ? reader.u32() : undefined
    this.#memory = { minPages, maxPages }
  }

  #globalSection(reader: ByteReader): void {
    for (let left = reader.count("globals", 10_000); left > 0; left -= 1) {
      const type = this.#valueType(reader)
      const mutable = reader.byte() === 1
      if (mutable) this.#memoryOnly = false
      const value = constant(reader)
      this.#globals.push({ mutable, value: type === "i32" ? value : undefined })
    }
  }

  #exportSection(reader: ByteReader): void {
    for (let left = reader.count("exports", 2 * moduleBounds.functions); left > 0; left -= 1) {
      const name = reader.name()
      const kind = reader.byte()
      const index = reader.u32()
      if (kind === 0) this.#exported.push({ name, index })
      else if (kind === 2 && name === "memory") this.#exportsMemory = this.#memory !== undefined
      else if (kind === 3 && name === "__heap_base") this.#heapBaseIndex = index
    }
  }

  #dataSection(reader: ByteReader): void {
    const bytes = (this.#memory?.minPages ?? 0) * 65_536
    for (let left = reader.count("data segments", 100_000); left > 0; left -= 1) {
      const mode = reader.u32()
      if (mode === 2) reader.u32()
      else if (mode > 1) throw reader.fail("a data segment is of an unknown kind")
      if (mode === 1) this.#memoryOnly = false
      const at = mode === 1 ? undefined : constant(reader)
      const size = reader.u32()
      reader.skip(size)
      if (at !== undefined && at + size > bytes) {
        const where = `at ${at}, ${size} bytes`
        throw reader.fail(
          `its texts do not fit into its first memory (${bytes} bytes): data segment out of bounds (${where})`,
        )
      }
    }
  }
}

/** Skips a constant expression; its value when it is one plain i32, unsigned. */
function constant(reader: ByteReader): number | undefined {
  let value: number | undefined
  for (let length = 0; ; length += 1) {
    const opcode = reader.byte()
    if (opcode === 0x0b) return length === 1 ? value : undefined
    if (opcode === 0x41) value = Number(BigInt.asUintN(32, reader.signed(32)))
    else if (opcode === 0x42) reader.signed(64)
    else if (opcode === 0x43) reader.skip(4)
    else if (opcode === 0x44) reader.skip(8)
    else if (opcode === 0x23 || opcode === 0xd2) reader.u32()
    else if (opcode === 0xd0) reader.byte()
    else if (![0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e].includes(opcode)) throw reader.fail("a constant is not one")
    if (opcode === 0x42 || opcode === 0x43 || opcode === 0x44) value = undefined
  }
}
