import { readdirSync, readFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { dirname, join } from "node:path"
import { tokenizer } from "acorn"

/** A regular expression as it stands in a source. */
export interface OwnExpression {
  readonly where: string
  readonly expression: RegExp
}

/** Every regular expression of these folders' sources, tests left out. */
export function expressionsIn(folders: readonly string[]): readonly OwnExpression[] {
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(
        (entry) => entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name) && !/\.test\.|\.d\.[cm]?ts$/.test(entry.name),
      )
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !/\/(?:testing|test|tests)\//.test(path))
      .flatMap((path) => expressionsOf(path)),
  )
}

function expressionsOf(path: string): OwnExpression[] {
  const text = readFileSync(path, "utf8")
  const found: OwnExpression[] = []
  try {
    const code = path.endsWith("ts") ? stripTypeScriptTypes(text) : text
    const tokens = tokenizer(code, { ecmaVersion: "latest", sourceType: "module" }) as Iterable<{
      type: { label: string }
      value?: unknown
    }>
    for (const { type, value } of tokens) {
      const literal = value as { pattern?: string; flags?: string } | undefined
      if (type.label === "regexp" && literal?.pattern !== undefined)
        found.push({ where: path, expression: new RegExp(literal.pattern, literal.flags) })
    }
  } catch {
    return found // what this Node cannot read it does not run either
  }
  return found
}

/** Folder of an installed package that this repository's package has. */
export function folderOf(name: string, from: string): string {
  return dirname(join(from, "node_modules", name, "package.json"))
}

const length = 8192
const slowMs = 50

/**
 * The slowest of many texts of 8 KiB made from the expression's own characters, each repeated so that whatever can be
 * matched in two ways is. Undefined when none takes more than 50 ms.
 */
export function slowText({ expression }: OwnExpression): { readonly text: string; readonly ms: number } | undefined {
  const copy = new RegExp(expression.source, expression.flags.replace(/[gy]/g, ""))
  const runs = expression.source.match(/[A-Za-z0-9_:/=. -]{2,}/g) ?? []
  const single = [...new Set([...representatives(expression.source), "a", "0", " ", "\n", '"', "\\"])].slice(0, 16)
  const pairs = single.flatMap((first) => single.map((second) => first + second))
  const pieces = [...new Set([...single, ...pairs, ...runs.map((run) => run.trim()), ...runs])].filter(Boolean)
  for (const piece of pieces)
    for (const before of ["", ...runs.slice(0, 2)]) {
      const text = `${before}${piece.repeat(Math.ceil(length / piece.length))}\u0001`
      const begun = performance.now()
      copy.test(text)
      const ms = performance.now() - begun
      if (ms <= slowMs) continue
      // A machine that is busy makes one try slow.
      const again = performance.now()
      copy.test(text)
      if (performance.now() - again > slowMs) return { text: text.slice(0, 40), ms }
    }
  return undefined
}

/** One character for each class and literal of a pattern. */
function representatives(source: string): string[] {
  const classes: Readonly<Record<string, string>> = {
    d: "0",
    w: "a",
    s: " ",
    S: "x",
    D: "x",
    W: "-",
    n: "\n",
    r: "\r",
    t: "\t",
  }
  const found: string[] = []
  for (let at = 0; at < source.length; at++) {
    const character = source[at] ?? ""
    if (character !== "\\") {
      if (!"()[]{}*+?|^$.".includes(character)) found.push(character)
      continue
    }
    const next = source[++at] ?? ""
    found.push(classes[next] ?? (/[bBpPukx0-9]/.test(next) ? "" : next))
  }
  return found.filter(Boolean)
}
