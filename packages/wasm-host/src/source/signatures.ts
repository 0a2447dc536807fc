import type { ExportedFunction } from "../module/section-reader.ts"
import { signatureOf } from "../module/check-module.ts"
import type { ClarityType, FunctionSignature, Signatures } from "../types.ts"
import { wasmTypeOf } from "../types.ts"
import type { FunctionDeclaration } from "./parse.ts"
import { resolveType, Unresolved, type SourceTree } from "./resolve.ts"

const letters = { i32: "i", i64: "l", f64: "d" } as const

/** Reads the offered functions out of a source. Those that cannot be offered are in `rejected`. */
export function signaturesOf(tree: SourceTree): Signatures {
  const functions: FunctionSignature[] = []
  const rejected: { item: string; reason: string }[] = []
  for (const declared of tree.file.functions) {
    if (!declared.exported) continue
    try {
      functions.push(signatureOfDeclaration(declared, tree))
    } catch (error) {
      if (!(error instanceof Unresolved)) throw error
      rejected.push({ item: declared.name, reason: error.message })
    }
  }
  return { from: "source", module: tree.file.module ?? "", functions, rejected }
}

function signatureOfDeclaration(declared: FunctionDeclaration, tree: SourceTree): FunctionSignature {
  if (declared.typeParams.length > 0) throw new Unresolved("it is generic")
  const params = declared.params.map(({ name, type }) => ({ name, type: resolveType(type, tree) }))
  if (params.some(({ type }) => type.kind === "Unit")) throw new Unresolved("it takes a Unit, which has no value")
  if (new Set(params.map(({ name }) => name)).size < params.length) throw new Unresolved("two parameters have one name")
  const result = resolveType(declared.result, tree)
  return { name: declared.name, params, result, doc: declared.doc, effects: declared.effects }
}

/**
 * Holds a source against the module it is said to have made: every function's name and wasm type. The first difference
 * in words, or undefined when they agree.
 */
export function staleness(tree: SourceTree, exported: readonly ExportedFunction[]): string | undefined {
  const compiled = new Map(exported.map((entry) => [entry.name, signatureOf(entry.type)]))
  const declared = new Map(tree.file.functions.map((entry) => [entry.name, entry]))
  for (const entry of tree.file.functions) {
    if (entry.typeParams.length > 0) continue
    const found = compiled.get(entry.name)
    if (found === undefined) {
      if (entry.exported) return `the source has ${entry.name}, the module does not`
    } else {
      const expected = lowered(entry, tree)
      if (expected !== undefined && expected !== found)
        return `${entry.name} has other types in the source than in the module`
    }
  }
  const extra = exported.find(({ name }) => !name.includes("$") && !name.startsWith("__") && !declared.has(name))
  return extra ? `the module has ${extra.name.slice(0, 80)}, the source does not` : undefined
}

/** The function's wasm signature by its source; undefined when a type of it is unknown. */
function lowered(declared: FunctionDeclaration, tree: SourceTree): string | undefined {
  const letter = (type: FunctionDeclaration["result"]): string => {
    if (type.name === undefined) return "i"
    const resolved: ClarityType = resolveType(type, tree)
    const wasm = wasmTypeOf(resolved)
    return wasm === undefined ? "" : letters[wasm]
  }
  try {
    return `${declared.params.map((param) => letter(param.type)).join("")}>${letter(declared.result)}`
  } catch (error) {
    if (error instanceof Unresolved) return undefined
    throw error
  }
}

/** Functions that can be typed from the module alone: those that take and give only 64-bit numbers. */
export function bareSignatures(exported: readonly ExportedFunction[], effects: readonly string[]): Signatures {
  const functions: FunctionSignature[] = []
  const rejected: { item: string; reason: string }[] = []
  for (const { name, type } of exported) {
    if (name.includes("$") || name.startsWith("__")) continue
    const [params, result] = signatureOf(type).split(">")
    if (/^[ld]*$/.test(params ?? "?") && /^[ld]?$/.test(result ?? "?")) {
      const named = [...(params ?? "")].map((letter, index) => ({ name: `arg${index}`, type: numberType(letter) }))
      functions.push({ name, params: named, result: numberType(result ?? ""), doc: bareDoc, effects })
    } else {
      rejected.push({
        item: name,
        reason: "its types cannot be told from the module alone: the .clarity source is needed",
      })
    }
  }
  return { from: "module", module: "", functions, rejected }
}

const bareDoc =
  "Typed from the compiled module alone: names of parameters are not known, and a whole number may stand for an instant."

function numberType(letter: string): ClarityType {
  if (letter === "") return { kind: "Unit" }
  return { kind: letter === "l" ? "Int64" : "Float64" }
}
