import { randomUUID } from "node:crypto"
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import path from "node:path"
import * as v from "valibot"
import type { ClarityType, Field, Signatures } from "./types.ts"

const format = 1
const name = v.pipe(v.string(), v.maxLength(4096))

const typeSchema: v.GenericSchema<ClarityType> = v.lazy(() =>
  v.variant("kind", [
    v.strictObject({ kind: v.picklist(["Int64", "Float64", "Bool", "String", "Bytes", "Timestamp", "Unit"]) }),
    v.strictObject({ kind: v.literal("List"), element: typeSchema }),
    v.strictObject({ kind: v.literal("Option"), inner: typeSchema }),
    v.strictObject({ kind: v.literal("Result"), ok: typeSchema, err: typeSchema }),
    v.strictObject({ kind: v.literal("Map"), key: v.picklist(["String", "Int64", "Timestamp"]), value: typeSchema }),
    v.strictObject({ kind: v.literal("Record"), name, fields: v.array(fieldSchema) }),
    v.strictObject({
      kind: v.literal("Union"),
      name,
      variants: v.array(v.strictObject({ name, fields: v.array(fieldSchema) })),
    }),
  ]),
)
const fieldSchema: v.GenericSchema<Field> = v.strictObject({ name, type: typeSchema })

const sidecarSchema = v.strictObject({
  format: v.literal(format),
  module: name,
  functions: v.array(
    v.strictObject({
      name,
      params: v.array(fieldSchema),
      result: typeSchema,
      doc: v.string(),
      effects: v.array(name),
    }),
  ),
  rejected: v.array(v.strictObject({ item: name, reason: v.string() })),
})

/** The signatures kept for a module, or undefined when there are none that can be read. */
export async function readSidecar(stateDir: string, sha256: string): Promise<Signatures | undefined> {
  try {
    const text = await readFile(sidecarPath(stateDir, sha256), "utf8")
    const found = v.safeParse(sidecarSchema, JSON.parse(text))
    if (!found.success) return undefined
    const { module, functions, rejected } = found.output
    return { from: "sidecar", module, functions, rejected }
  } catch {
    return undefined
  }
}

/** Keeps the signatures of a module for the day its source is gone. Throws what the file system throws. */
export async function writeSidecar(stateDir: string, sha256: string, signatures: Signatures): Promise<void> {
  const { module, functions, rejected } = signatures
  const file = sidecarPath(stateDir, sha256)
  const text = `${JSON.stringify({ format, module, functions, rejected })}\n`
  if ((await readFile(file, "utf8").catch(() => "")) === text) return
  await mkdir(path.dirname(file), { recursive: true })
  const temporary = `${file}.${randomUUID()}.tmp`
  try {
    await writeFile(temporary, text, { mode: 0o600, flush: true })
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

function sidecarPath(stateDir: string, sha256: string): string {
  return path.join(stateDir, "wasm", `${sha256}.json`)
}
