/** A type of the Clarity language with names resolved and aliases replaced: finite, never referring to itself. */
export type ClarityType =
  | { readonly kind: PlainKind }
  | { readonly kind: "List"; readonly element: ClarityType }
  | { readonly kind: "Option"; readonly inner: ClarityType }
  | { readonly kind: "Result"; readonly ok: ClarityType; readonly err: ClarityType }
  | { readonly kind: "Map"; readonly key: MapKey; readonly value: ClarityType }
  | { readonly kind: "Record"; readonly name: string; readonly fields: readonly Field[] }
  | { readonly kind: "Union"; readonly name: string; readonly variants: readonly Variant[] }

export type PlainKind = "Int64" | "Float64" | "Bool" | "String" | "Bytes" | "Timestamp" | "Unit"
export type MapKey = "String" | "Int64" | "Timestamp"

export interface Field {
  readonly name: string
  readonly type: ClarityType
}

export interface Variant {
  readonly name: string
  readonly fields: readonly Field[]
}

/** One function as it is offered. */
export interface FunctionSignature {
  readonly name: string
  readonly params: readonly Field[]
  readonly result: ClarityType
  /** The comment above its declaration; empty when there is none. */
  readonly doc: string
  /** Effects it may have, as declared, or those of the whole module when there is no source. */
  readonly effects: readonly string[]
}

/** What is known of a module's functions, and where from. */
export interface Signatures {
  readonly from: "source" | "sidecar" | "module"
  /** Name of the Clarity module. */
  readonly module: string
  readonly functions: readonly FunctionSignature[]
  /** Exports that are not offered, each with its reason. */
  readonly rejected: readonly { readonly item: string; readonly reason: string }[]
}

/** How a value of that type crosses the wasm border; undefined for Unit, which does not. */
export function wasmTypeOf(type: ClarityType): "i32" | "i64" | "f64" | undefined {
  switch (type.kind) {
    case "Int64":
    case "Timestamp":
      return "i64"
    case "Float64":
      return "f64"
    case "Unit":
      return undefined
    default:
      return "i32"
  }
}

/** True when a value of that type is written as JSON null at times, so that an Option around it needs a wrapper. */
export function isNullable(type: ClarityType): boolean {
  return type.kind === "Option" || type.kind === "Unit"
}

/** The type as its author would write it. */
export function typeText(type: ClarityType): string {
  switch (type.kind) {
    case "List":
      return `List<${typeText(type.element)}>`
    case "Option":
      return `Option<${typeText(type.inner)}>`
    case "Result":
      return `Result<${typeText(type.ok)}, ${typeText(type.err)}>`
    case "Map":
      return `Map<${type.key}, ${typeText(type.value)}>`
    case "Record":
    case "Union":
      return type.name
    default:
      return type.kind
  }
}

/** The function as its author would declare it. */
export function signatureText(signature: FunctionSignature): string {
  const effects = signature.effects.length > 0 ? `effect[${signature.effects.join(", ")}] ` : ""
  const params = signature.params.map((param) => `${param.name}: ${typeText(param.type)}`).join(", ")
  return `${effects}${signature.name}(${params}) -> ${typeText(signature.result)}`
}
