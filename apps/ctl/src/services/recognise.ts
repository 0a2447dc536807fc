import { existsSync, statSync } from "node:fs"
import { resolve } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"

export type Addition =
  | { readonly kind: "remote"; readonly endpoint: string }
  | { readonly kind: "module"; readonly wasmPath: string; readonly sourceFile: string }
  | { readonly kind: "source"; readonly sourceFile: string }
  | { readonly kind: "command"; readonly command: readonly string[] }

/** Tells what it is given. Throws `invalid_params` or `not_found` that names what can be added. */
export function recognise(target: string | undefined, command: readonly string[] | undefined, cwd: string): Addition {
  if (command !== undefined) {
    if (target !== undefined)
      throw new ClarityError("invalid_params", `both ${target} and a command after -- are given; add one at a time`)
    if (command.length === 0) throw new ClarityError("invalid_params", "nothing follows --; a command belongs there")
    return { kind: "command", command }
  }
  if (target === undefined || target === "") throw new ClarityError("invalid_params", `nothing to add; give ${choices}`)
  if (/^https?:\/\//i.test(target)) return { kind: "remote", endpoint: target }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(target))
    throw new ClarityError("invalid_params", `only http and https servers can be added, not ${target.slice(0, 100)}`)
  const path = resolve(cwd, target)
  if (/\.wasm$/i.test(target)) {
    if (!isFile(path)) throw new ClarityError("not_found", `there is no file ${path}`)
    const source = path.replace(/\.wasm$/i, ".clarity")
    return { kind: "module", wasmPath: path, sourceFile: isFile(source) ? source : path }
  }
  const sourceFile = /\.clarity$/i.test(target) ? path : `${path}.clarity`
  if (isFile(sourceFile)) return { kind: "source", sourceFile }
  if (existsSync(path) && statSync(path).isDirectory()) {
    throw new ClarityError("invalid_params", `${path} is a folder; clarityctl add-all adds what is in it`)
  }
  throw new ClarityError("not_found", `there is no file ${sourceFile}; what can be added is ${choices}`)
}

const choices = "a URL, a .wasm file, a .clarity source, or a command after --"

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}
