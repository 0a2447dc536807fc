import { refusal } from "./byte-reader.ts"
import { grantedEffects, hostImport } from "./host-imports.ts"
import { moduleBounds, type FunctionType, type ModuleShape } from "./section-reader.ts"

/**
 * Refuses a module that asks for more than it is granted. Throws ClarityError (`invalid_manifest`): the imports it may
 * not have (`data.imports`, `data.effects`), its memory, or where its heap begins.
 */
export function checkModule(shape: ModuleShape): void {
  checkImports(shape)
  checkMemory(shape)
}

/** Effect families a module can reach at all, by its imports. */
export function effectsOf(shape: ModuleShape): string[] {
  const effects = shape.imports.map((entry) => hostImport(entry.name)?.effect ?? "pure")
  return [...new Set(effects)].filter((effect) => effect !== "pure").sort()
}

function checkImports(shape: ModuleShape): void {
  const unknown: string[] = []
  const mistyped: string[] = []
  const denied = new Map<string, string[]>()
  for (const { module, name, type } of shape.imports) {
    const known = module === "env" ? hostImport(name) : undefined
    const full = `${module}.${name}`.slice(0, 120)
    if (!known) unknown.push(full)
    else if (known.signature !== signatureOf(type)) mistyped.push(full)
    else if (known.effect !== "pure" && !grantedEffects.includes(known.effect)) {
      denied.set(known.effect, [...(denied.get(known.effect) ?? []), name])
    }
  }
  if (unknown.length > 0) {
    throw refusal(
      `the module imports ${listed(unknown)}, which this host does not know`,
      "only modules made by clarityc run here; rebuild it with a clarityc this runtime knows",
      { imports: unknown },
    )
  }
  if (mistyped.length > 0) {
    throw refusal(
      `the module imports ${listed(mistyped)} with other types than this host has`,
      "rebuild it with a clarityc this runtime knows",
      { imports: mistyped },
    )
  }
  if (denied.size > 0) {
    const parts = [...denied].map(([effect, names]) => `${effect} (${listed(names.map((name) => `env.${name}`))})`)
    throw refusal(
      `the module needs effects that are not granted here: ${parts.join(", ")}`,
      `granted are pure functions and ${grantedEffects.join(", ")}; take these calls out of the source and recompile`,
      { effects: [...denied.keys()], imports: [...denied.values()].flat().map((name) => `env.${name}`) },
    )
  }
}

function checkMemory(shape: ModuleShape): void {
  const { memory, heapBase } = shape
  const needsHeap = shape.imports.length > 0 && shape.imports.some(({ name }) => !numeric(name))
  const hint = "rebuild it with clarityc, which declares at most 256 pages"
  if (memory) {
    if (memory.maxPages === undefined) throw refusal("the module's memory has no declared maximum", hint)
    if (memory.maxPages > moduleBounds.pages || memory.minPages > memory.maxPages) {
      const range = `${memory.minPages} to ${memory.maxPages} pages`
      throw refusal(`the module's memory is ${range}; up to ${moduleBounds.pages} pages (64 MiB) are allowed`, hint)
    }
    if (heapBase !== undefined && heapBase > memory.minPages * 65_536) {
      throw refusal(`the module's __heap_base (${heapBase}) lies outside its first memory`, hint)
    }
  }
  if (needsHeap && (!shape.exportsMemory || heapBase === undefined)) {
    throw refusal("the module calls the host but does not export `memory` and `__heap_base`", hint)
  }
}

/** True for host functions that touch no memory. */
function numeric(name: string): boolean {
  const signature = hostImport(name)?.signature ?? "i"
  return !signature.includes("i")
}

const letters: Readonly<Record<string, string>> = { i32: "i", i64: "l", f64: "d" }

/** A wasm function type as the import table writes it. */
export function signatureOf(type: FunctionType): string {
  const text = (types: readonly string[]) => types.map((name) => letters[name] ?? "?").join("")
  return `${text(type.params)}>${text(type.results)}`
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(", ")
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown
}
