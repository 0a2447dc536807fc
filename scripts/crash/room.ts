import { mkdtempSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** A temporary folder for what makes thousands of writes and needs no real disk: in memory where the machine offers that. */
export function scratchRoom(name: string): { readonly path: string; remove(): void } {
  const path = make(name)
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

function make(name: string): string {
  for (const parent of ["/dev/shm", tmpdir()]) {
    try {
      return mkdtempSync(join(realpathSync(parent), `clarity-${name}-`))
    } catch (error) {
      if (parent === tmpdir()) throw error
    }
  }
  throw new Error("there is no temporary folder")
}
