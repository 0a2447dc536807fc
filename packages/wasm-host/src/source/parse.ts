import { ClarityError } from "@clarity-runtime/contracts"
import { tokenize, type Token } from "./tokenize.ts"

/** The declarations of one `.clarity` file: everything but the bodies. */
export interface SourceFile {
  readonly module: string | undefined
  readonly imports: readonly { readonly names: readonly string[]; readonly path: string }[]
  readonly types: ReadonlyMap<string, TypeDeclaration>
  readonly functions: readonly FunctionDeclaration[]
}

export interface TypeDeclaration {
  readonly name: string
  readonly typeParams: readonly string[]
  readonly body:
    | { readonly kind: "record"; readonly fields: readonly FieldDeclaration[] }
    | {
        readonly kind: "union"
        readonly variants: readonly { readonly name: string; readonly fields: readonly FieldDeclaration[] }[]
      }
    | { readonly kind: "alias"; readonly target: TypeExpression }
}

export interface FieldDeclaration {
  readonly name: string
  readonly type: TypeExpression
}

/** A type as written; `name` is undefined for a function type. */
export interface TypeExpression {
  readonly name: string | undefined
  readonly args: readonly TypeExpression[]
}

export interface FunctionDeclaration {
  readonly name: string
  readonly exported: boolean
  readonly effects: readonly string[]
  readonly typeParams: readonly string[]
  readonly params: readonly FieldDeclaration[]
  readonly result: TypeExpression
  readonly doc: string
}

const declarations = new Set(["export", "effect", "function", "type", "import", "const", "module"])
const opening = new Set(["{", "(", "["])
const closing = new Set(["}", ")", "]"])

/** Reads the declarations of a source. Throws ClarityError naming the line where it stops making sense. */
export function parseSource(source: string): SourceFile {
  const { tokens, comments } = tokenize(source)
  return new Parser(tokens, comments).file()
}

class Parser {
  readonly #tokens: readonly Token[]
  readonly #comments: ReadonlyMap<number, string>
  #at = 0

  constructor(tokens: readonly Token[], comments: ReadonlyMap<number, string>) {
    this.#tokens = tokens
    this.#comments = comments
  }

  file(): SourceFile {
    let module: string | undefined
    const imports: { names: string[]; path: string }[] = []
    const types = new Map<string, TypeDeclaration>()
    const functions: FunctionDeclaration[] = []
    while (this.#peek()) {
      const line = this.#peek()?.line ?? 0
      const exported = this.#accept("export")
      const effects = this.#accept("effect") ? this.#bracketed("[", "]") : []
      if (this.#accept("function")) functions.push(this.#function(exported, effects, line))
      else if (this.#accept("type")) {
        const declared = this.#type()
        types.set(declared.name, declared)
      } else if (this.#accept("import")) imports.push(this.#import())
      else if (this.#accept("module")) module = this.#word()
      else this.#skipDeclaration()
    }
    return { module, imports, types, functions }
  }

  #function(exported: boolean, effects: string[], line: number): FunctionDeclaration {
    const name = this.#word()
    const typeParams = this.#peek()?.text === "<" ? this.#bracketed("<", ">") : []
    this.#expect("(")
    const params = this.#fields(")")
    const result: TypeExpression = this.#accept("->") ? this.#typeExpression() : { name: "Unit", args: [] }
    if (this.#peek()?.text === "{") this.#skipBrackets()
    return { name, exported, effects, typeParams, params, result, doc: this.#docAbove(line) }
  }

  #type(): TypeDeclaration {
    const name = this.#word()
    const typeParams = this.#peek()?.text === "<" ? this.#bracketed("<", ">") : []
    this.#expect("=")
    if (this.#accept("{")) return { name, typeParams, body: { kind: "record", fields: this.#fields("}") } }
    const first = this.#tokens[this.#at]
    const next = this.#tokens[this.#at + 1]
    const union = first?.text === "|" || (first?.kind === "word" && next?.text === "(") || this.#barFollows()
    if (!union) return { name, typeParams, body: { kind: "alias", target: this.#typeExpression() } }
    this.#accept("|")
    const variants: { name: string; fields: FieldDeclaration[] }[] = []
    do {
      const variant = this.#word()
      variants.push({ name: variant, fields: this.#accept("(") ? this.#fields(")") : [] })
    } while (this.#accept("|"))
    return { name, typeParams, body: { kind: "union", variants } }
  }

  #barFollows(): boolean {
    return this.#tokens[this.#at]?.kind === "word" && this.#tokens[this.#at + 1]?.text === "|"
  }

  #import(): { names: string[]; path: string } {
    const names = this.#peek()?.text === "{" ? this.#bracketed("{", "}") : []
    if (names.length === 0 && this.#peek()?.kind === "word" && this.#peek()?.text !== "from") names.push(this.#word())
    this.#accept("from")
    const path = this.#next()
    if (path.kind !== "text" || path.value === undefined) throw this.#fail("an import has no path", path)
    return { names, path: path.value }
  }

  /** `name: Type, …` up to and including the closing mark; the opening one is already taken. */
  #fields(close: string): FieldDeclaration[] {
    const fields: FieldDeclaration[] = []
    while (!this.#accept(close)) {
      const name = this.#word()
      this.#expect(":")
      fields.push({ name, type: this.#typeExpression() })
      if (!this.#accept(",") && this.#peek()?.text !== close)
        throw this.#fail(`expected "," or "${close}"`, this.#peek())
    }
    return fields
  }

  #typeExpression(depth = 0): TypeExpression {
    if (depth > 64) throw this.#fail("a type is nested too deeply", this.#peek())
    if (this.#peek()?.text === "(") {
      this.#skipBrackets()
      if (this.#accept("->")) this.#typeExpression(depth + 1)
      return { name: undefined, args: [] }
    }
    const name = this.#word()
    const args: TypeExpression[] = []
    if (this.#accept("<")) {
      do args.push(this.#typeExpression(depth + 1))
      while (this.#accept(","))
      this.#expect(">")
    }
    return { name, args }
  }

  /** The words between two marks, commas and all else left out. */
  #bracketed(open: string, close: string): string[] {
    this.#expect(open)
    const words: string[] = []
    while (!this.#accept(close)) {
      const token = this.#next()
      if (token.kind === "word") words.push(token.text)
    }
    return words
  }

  /** Skips from an opening mark to the one that closes it. */
  #skipBrackets(): void {
    const begin = this.#peek()
    let depth = 0
    do {
      const token = this.#tokens[this.#at]
      if (!token) throw this.#fail(`"${begin?.text ?? ""}" is never closed`, begin)
      if (token.kind === "mark" && opening.has(token.text)) depth += 1
      if (token.kind === "mark" && closing.has(token.text)) depth -= 1
      this.#at += 1
    } while (depth > 0)
  }

  /** Skips something of no interest here (a constant) up to the next declaration. */
  #skipDeclaration(): void {
    this.#at += 1
    for (let token = this.#peek(); token; token = this.#peek()) {
      if (token.kind === "word" && declarations.has(token.text)) return
      if (token.kind === "mark" && opening.has(token.text)) this.#skipBrackets()
      else this.#at += 1
    }
  }

  #docAbove(line: number): string {
    const lines: string[] = []
    for (let above = line - 1; ; above -= 1) {
      const comment = this.#comments.get(above)
      if (comment === undefined) break
      lines.unshift(comment)
    }
    return lines.join("\n").trim()
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at]
  }

  #next(): Token {
    const token = this.#tokens[this.#at]
    if (!token) throw this.#fail("it ends in the middle of a declaration", this.#tokens.at(-1))
    this.#at += 1
    return token
  }

  #word(): string {
    const token = this.#next()
    if (token.kind !== "word") throw this.#fail(`expected a name, found "${token.text.slice(0, 40)}"`, token)
    return token.text
  }

  #accept(text: string): boolean {
    const token = this.#peek()
    if (token?.text !== text || token.kind === "text") return false
    this.#at += 1
    return true
  }

  #expect(text: string): void {
    const token = this.#next()
    if (token.text !== text || token.kind === "text") throw this.#fail(`expected "${text}"`, token)
  }

  #fail(problem: string, token: Token | undefined): ClarityError {
    return new ClarityError("invalid_manifest", `the source cannot be read: line ${token?.line ?? 1}: ${problem}`)
  }
}
