import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { ClarityError, isJsonObject, parseManifest, type Registry } from "@clarity-runtime/contracts"

/**
 * Registers the manifests of a file when this workspace has never been given examples; a service that a person has
 * removed since is not brought back. Returns how many were registered. Throws ClarityError `config_error`.
 */
export async function registerExamples(registry: Registry, file: string, workspace: string): Promise<number> {
  const mark = join(workspace, ".clarity", "runtime", "examples.registered")
  if (existsSync(mark)) return 0
  let count = 0
  for (const manifest of readManifests(file)) {
    await registry.put(parseManifest(manifest))
    count++
  }
  writeFileSync(mark, "The example services were registered once; remove this file to have them registered again.\n", {
    mode: 0o600,
  })
  return count
}

function readManifests(file: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"))
    if (isJsonObject(value) && Array.isArray(value["services"])) return value["services"]
  } catch (error) {
    throw new ClarityError("config_error", `the examples ${file} cannot be read`, { cause: error })
  }
  throw new ClarityError("config_error", `the examples ${file} must be {"services": [...]}`)
}
