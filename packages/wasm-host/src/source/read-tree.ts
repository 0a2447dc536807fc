import { readFile, stat } from "node:fs/promises"
import path from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { parseSource, type SourceFile } from "./parse.ts"
import type { SourceTree } from "./resolve.ts"
import { sourceBounds } from "./tokenize.ts"

/** Files one service's types may come from. */
const maxFiles = 64

/**
 * Reads a source and, for their types, the files it imports by relative path. A file that is missing or unreadable is
 * left out (types of it are then unknown); only the first one must be there. Throws ClarityError.
 */
export async function readSourceTree(file: string): Promise<SourceTree> {
  const known = new Map<string, SourceTree>()

  const read = async (name: string): Promise<SourceTree> => {
    const before = known.get(name)
    if (before) return before
    if (known.size >= maxFiles)
      throw new ClarityError("invalid_manifest", `the source imports more than ${maxFiles} files`)
    const parsed: SourceFile = parseSource(await readBounded(name))
    const imported = new Map<string, SourceTree | undefined>()
    const tree: SourceTree = { file: parsed, imported }
    known.set(name, tree)
    for (const entry of parsed.imports) {
      const relative = entry.path.startsWith("./") || entry.path.startsWith("../")
      if (!relative && entry.path.startsWith("std/")) continue
      const target = path.resolve(path.dirname(name), entry.path)
      const next = target.endsWith(".clarity") ? target : `${target}.clarity`
      imported.set(entry.path, await read(next).catch(() => undefined))
    }
    return tree
  }
  return read(path.resolve(file))
}

async function readBounded(file: string): Promise<string> {
  const found = await stat(file)
  if (!found.isFile()) throw new ClarityError("invalid_manifest", "the source is not a file")
  if (found.size > sourceBounds.bytes) throw new ClarityError("invalid_manifest", "the source is larger than 1 MiB")
  return readFile(file, "utf8")
}
