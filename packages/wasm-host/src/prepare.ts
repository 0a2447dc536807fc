import { createHash } from "node:crypto"
import { open, stat } from "node:fs/promises"
import path from "node:path"
import { ClarityError, type ServiceManifest } from "@clarity-runtime/contracts"
import { refusal } from "./module/byte-reader.ts"
import { capTables } from "./module/cap-tables.ts"
import { checkModule, effectsOf, signatureOf } from "./module/check-module.ts"
import { moduleBounds, readModule, type ModuleShape } from "./module/section-reader.ts"
import { readSidecar, writeSidecar } from "./sidecar.ts"
import { readSourceTree } from "./source/read-tree.ts"
import { bareSignatures, signaturesOf, staleness } from "./source/signatures.ts"
import type { SourceTree } from "./source/resolve.ts"
import { wasmTypeOf, type FunctionSignature, type Signatures } from "./types.ts"

/** A module read and checked, not yet compiled. */
export interface Prepared {
  /** The module's bytes, bounded in everything that could grow. */
  readonly bytes: Uint8Array
  /** Of the file as it is on disk. */
  readonly sha256: string
  readonly shape: ModuleShape
  readonly signatures: Signatures
}

/**
 * Reads a service's module and finds out what it offers: from its source when there is one, else from the sidecar of an
 * earlier reading, else what the module itself tells. Throws ClarityError with a hint: a file that cannot be read, a
 * module that is refused, a source the module was not made from.
 */
export async function prepareModule(
  manifest: ServiceManifest,
  stateDir: string | undefined,
  note: (text: string) => void,
): Promise<Prepared> {
  const { origin } = manifest.spec
  const { metadata } = manifest
  if (origin.type !== "local_wasm") throw new ClarityError("internal", "not a local_wasm service")
  const root = metadata.workspaceRoot ?? "."
  const file = path.resolve(root, origin.wasmPath)
  const bytes = await readWasm(file, origin.wasmPath)
  const sha256 = createHash("sha256").update(bytes).digest("hex")
  if (metadata.artifactSha256 !== undefined && metadata.artifactSha256 !== sha256) {
    note(
      `the module differs from the one registered (sha256 ${sha256.slice(0, 12)}…, not ${metadata.artifactSha256.slice(0, 12)}…)`,
    )
  }
  const shape = readModule(bytes)
  checkModule(shape)
  const source = await findSource(root, metadata.sourceFile, file, note)
  const signatures = await discover(shape, source, stateDir, sha256, metadata.module, note)
  return {
    bytes: shape.openTables ? capTables(bytes, shape.openTables) : bytes,
    sha256,
    shape,
    signatures: offered(signatures, shape),
  }
}

async function readWasm(file: string, shown: string): Promise<Buffer> {
  const hint = "check the path, or build the module: clarityc compile <file>.clarity"
  try {
    const handle = await open(file, "r")
    try {
      const found = await handle.stat()
      if (!found.isFile()) throw new ClarityError("unavailable", `${shown} is not a file`, { data: { hint } })
      if (found.size > moduleBounds.bytes) {
        throw refusal(
          `${shown} has ${found.size} bytes, more than the 10 MiB allowed`,
          "split it into smaller services",
        )
      }
      return await handle.readFile()
    } finally {
      await handle.close()
    }
  } catch (cause) {
    if (cause instanceof ClarityError) throw cause
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error"
    const why =
      code === "ENOENT" ? "does not exist" : code === "EACCES" ? "may not be read" : `cannot be read (${code})`
    throw new ClarityError("unavailable", `the module ${shown} ${why}`, { data: { reason: code, hint }, cause })
  }
}

interface FoundSource {
  readonly tree: SourceTree
  /** As the operator named it. */
  readonly shown: string
}

/** The source a module was made from: the one in the manifest, else one of the same name beside the module. */
async function findSource(
  root: string,
  sourceFile: string,
  wasm: string,
  note: (text: string) => void,
): Promise<FoundSource | undefined> {
  const beside = wasm.replace(/\.wasm$/i, "") + ".clarity"
  const named = sourceFile.endsWith(".clarity") ? path.resolve(root, sourceFile) : undefined
  for (const file of [named, beside]) {
    if (file === undefined || !(await isFile(file))) continue
    const shown = file === named ? sourceFile : path.basename(beside)
    try {
      return { tree: await readSourceTree(file), shown }
    } catch (error) {
      const why = error instanceof ClarityError ? error.message : "it cannot be read"
      note(`${shown} is left out: ${why}`)
    }
  }
  return undefined
}

async function isFile(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isFile(),
    () => false,
  )
}

async function discover(
  shape: ModuleShape,
  source: FoundSource | undefined,
  stateDir: string | undefined,
  sha256: string,
  module: string,
  note: (text: string) => void,
): Promise<Signatures> {
  if (source) {
    const stale = staleness(source.tree, shape.functions)
    if (stale !== undefined) {
      throw refusal(
        `the module was not made from ${source.shown} as it is now: ${stale}`,
        `compile it again: clarityc compile ${source.shown}`,
      )
    }
    const signatures = signaturesOf(source.tree)
    if (stateDir !== undefined) {
      await writeSidecar(stateDir, sha256, signatures).catch(() => note("the signatures could not be kept on disk"))
    }
    return signatures
  }
  const kept = stateDir === undefined ? undefined : await readSidecar(stateDir, sha256)
  return kept ?? { ...bareSignatures(shape.functions, effectsOf(shape)), module }
}

const toolName = /^[A-Za-z0-9_.-]{1,120}$/

/** What can be offered of the signatures by this very module. */
function offered(signatures: Signatures, shape: ModuleShape): Signatures {
  const exported = new Map(shape.functions.map(({ name, type }) => [name, signatureOf(type)]))
  const hasHeap = shape.exportsMemory && shape.heapBase !== undefined
  const rejected = [...signatures.rejected]
  const seen = new Set<string>()
  const functions = signatures.functions.filter((entry) => {
    const reason = objection(entry, exported.get(entry.name), hasHeap, seen.has(entry.name))
    seen.add(entry.name)
    if (reason !== undefined) rejected.push({ item: entry.name, reason })
    return reason === undefined
  })
  return { ...signatures, functions, rejected }
}

const letters = { i32: "i", i64: "l", f64: "d" } as const

function objection(
  entry: FunctionSignature,
  exported: string | undefined,
  hasHeap: boolean,
  twice: boolean,
): string | undefined {
  const letter = (type: FunctionSignature["result"]) => {
    const wasm = wasmTypeOf(type)
    return wasm === undefined ? "" : letters[wasm]
  }
  const expected = `${entry.params.map(({ type }) => letter(type)).join("")}>${letter(entry.result)}`
  if (twice) return "there are two of that name"
  if (exported !== expected) return "the module has no such function with these types"
  if (!toolName.test(entry.name)) return "its name is not one a tool may have"
  const needsHeap = [entry.result, ...entry.params.map(({ type }) => type)].some(
    (type) => wasmTypeOf(type) === "i32" && type.kind !== "Bool",
  )
  return needsHeap && !hasHeap ? "the module exports no memory to pass its values in" : undefined
}
