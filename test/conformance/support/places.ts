import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../../../", import.meta.url))
export const inRoot = (...parts: string[]): string => join(root, ...parts)

const require = createRequire(import.meta.url)

/** A file of an installed package that its exports do not name. */
export function inPackage(name: string, ...parts: string[]): string {
  return join(dirname(require.resolve(`${name}/package.json`)), ...parts)
}
