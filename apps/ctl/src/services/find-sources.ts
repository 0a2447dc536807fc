import { readdir } from "node:fs/promises"
import { join, relative } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { baseName } from "./manifests.ts"

const mostFiles = 10_000

export interface Source {
  readonly sourceFile: string
  /** File base name; where two files share one, their path makes the difference. */
  readonly module: string
}

/** The `.clarity` files of a folder in order of their paths; hidden folders and node_modules are left out. */
export async function findSources(root: string, recursive: boolean): Promise<Source[]> {
  const files: string[] = []
  const visit = async (folder: string): Promise<void> => {
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
      throw new ClarityError("not_found", `the folder ${folder} cannot be read (${error.code ?? "unknown reason"})`, {
        cause: error,
      })
    })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name)
      if (entry.isFile() && /\.clarity$/i.test(entry.name)) files.push(path)
      else if (recursive && entry.isDirectory() && !entry.name.startsWith(".") && entry.name !== "node_modules")
        await visit(path)
      if (files.length > mostFiles)
        throw new ClarityError("invalid_params", `there are more than ${mostFiles} sources below ${root}`)
    }
  }
  await visit(root)
  const names = files.map((file) => baseName(file).toLowerCase())
  return files.map((sourceFile) => {
    const own = baseName(sourceFile)
    const twins = names.filter((name) => name === own.toLowerCase()).length > 1
    const path = relative(root, sourceFile).replace(/\.clarity$/i, "")
    return { sourceFile, module: twins ? path.replaceAll(/[\\/]/g, "_") : own }
  })
}
