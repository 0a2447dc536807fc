import type { ClarityType, MapKey, PlainKind } from "../types.ts"
import type { FieldDeclaration, SourceFile, TypeExpression } from "./parse.ts"

/** A file with the files it imports types from, as far as they could be read. */
export interface SourceTree {
  readonly file: SourceFile
  /** By import path as written; undefined when it could not be read. */
  readonly imported: ReadonlyMap<string, SourceTree | undefined>
}

/** Why a type cannot be offered, in words for the operator. */
export class Unresolved extends Error {}

/** Bounds of one signature's types: how many parts, how deep. */
const bounds = { parts: 2000, depth: 32 } as const

const plain: ReadonlySet<string> = new Set(["Int64", "Float64", "Bool", "String", "Bytes", "Timestamp", "Unit"])
const mapKeys: ReadonlySet<string> = new Set(["String", "Int64", "Timestamp"])

interface Scope {
  readonly tree: SourceTree
  readonly bound: ReadonlyMap<string, ClarityType>
}

/** Replaces names by what they stand for. Throws Unresolved: unknown names, function types, types that hold themselves. */
export function resolveType(expression: TypeExpression, tree: SourceTree): ClarityType {
  return new Resolver().resolve(expression, { tree, bound: new Map() }, [])
}

class Resolver {
  #parts = 0

  resolve(expression: TypeExpression, scope: Scope, path: readonly string[]): ClarityType {
    this.#parts += 1
    if (this.#parts > bounds.parts) throw new Unresolved(`its types have more than ${bounds.parts} parts`)
    if (path.length > bounds.depth) throw new Unresolved(`its types are nested deeper than ${bounds.depth}`)
    const { name, args } = expression
    if (name === undefined) throw new Unresolved("it takes or gives a function, which cannot cross the wire")
    const arg = (index: number) => {
      const inner = args[index]
      if (!inner) throw new Unresolved(`${name} lacks a type argument`)
      return this.resolve(inner, scope, [...path, "<>"])
    }
    const bound = scope.bound.get(name)
    if (bound) return bound
    if (plain.has(name)) return { kind: name as PlainKind }
    if (name === "List") return { kind: "List", element: present(arg(0), "a list of Unit") }
    if (name === "Option") return { kind: "Option", inner: arg(0) }
    if (name === "Result") return { kind: "Result", ok: arg(0), err: arg(1) }
    if (name === "Map") {
      const key = arg(0)
      if (!mapKeys.has(key.kind))
        throw new Unresolved(`a map's keys may be String, Int64 or Timestamp, not ${key.kind}`)
      return { kind: "Map", key: key.kind as MapKey, value: present(arg(1), "a map of Unit") }
    }
    return this.#declared(name, args, scope, path)
  }

  #declared(name: string, args: readonly TypeExpression[], scope: Scope, path: readonly string[]): ClarityType {
    const home = findType(name, scope.tree)
    const declaration = home?.file.types.get(name)
    if (!home || !declaration) throw new Unresolved(`type ${name} is not declared in the sources that can be read`)
    if (path.includes(name)) throw new Unresolved(`type ${name} holds itself`)
    const inner: Scope = {
      tree: home,
      bound: new Map(
        declaration.typeParams.map((param, index): [string, ClarityType] => {
          const given = args[index]
          if (!given) throw new Unresolved(`type ${name} lacks a type argument`)
          return [param, this.resolve(given, scope, [...path, "<>"])]
        }),
      ),
    }
    const deeper = [...path, name]
    const fields = (list: readonly FieldDeclaration[]) =>
      list.map((field) => ({ name: field.name, type: this.resolve(field.type, inner, deeper) }))
    const { body } = declaration
    if (body.kind === "alias") return this.resolve(body.target, inner, deeper)
    if (body.kind === "record") return { kind: "Record", name, fields: fields(body.fields) }
    const variants = body.variants.map((variant) => ({ name: variant.name, fields: fields(variant.fields) }))
    return { kind: "Union", name, variants }
  }
}

/** The tree that declares a type: this file, the file it is imported from by name, or any file imported from. */
function findType(name: string, tree: SourceTree, seen: Set<SourceTree> = new Set()): SourceTree | undefined {
  if (tree.file.types.has(name)) return tree
  if (seen.has(tree)) return undefined
  seen.add(tree)
  const named = tree.file.imports.filter((entry) => entry.names.includes(name))
  for (const entry of [...named, ...tree.file.imports]) {
    const next = tree.imported.get(entry.path)
    const found = next && findType(name, next, seen)
    if (found) return found
  }
  return undefined
}

function present(type: ClarityType, what: string): ClarityType {
  if (type.kind === "Unit") throw new Unresolved(`${what} has no form in memory`)
  return type
}
