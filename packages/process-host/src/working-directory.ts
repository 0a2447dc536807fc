import { createHash } from "node:crypto"
import { rmdirSync } from "node:fs"
import { mkdir } from "node:fs/promises"
import { join, resolve } from "node:path"
import type { OriginOf, ServiceDefinition } from "@clarity-runtime/contracts"

export type StdioService = ServiceDefinition & { manifest: { spec: { origin: OriginOf<"local_stdio"> } } }

/** Where a child starts. */
export interface WorkingDirectory {
  readonly path: string
  /** Written by the operator; otherwise it is private to one service and isolation key. */
  readonly declared: boolean
  /** The last child there has ended: removes a private directory in which nothing was kept. */
  leave(): void
}

/** The working directories of one factory's children, below its state directory. */
export interface WorkingDirectories {
  /**
   * `origin.cwd`, read from the workspace when relative, which must be there; else `work/<service>`, made here (mode
   * 0700). Failure shows when the child starts.
   */
  enter(service: StdioService, isolationKey: string): Promise<WorkingDirectory>
}

export function workingDirectories(stateDir: string): WorkingDirectories {
  const guests = new Map<string, number>()
  return {
    async enter(service, isolationKey) {
      const declared = declaredDirectory(service)
      if (declared !== undefined) return { path: declared, declared: true, leave() {} }
      const path = join(stateDir, "work", directoryName(service.id, isolationKey))
      guests.set(path, (guests.get(path) ?? 0) + 1)
      await mkdir(path, { recursive: true, mode: 0o700 }).catch(() => undefined)
      const leave = () => {
        const left = (guests.get(path) ?? 1) - 1
        if (left > 0) return void guests.set(path, left)
        guests.delete(path)
        removeEmpty(path)
      }
      return { path, declared: false, leave }
    },
  }
}

/** The directory the operator named, if any. */
export function declaredDirectory(service: StdioService): string | undefined {
  const { cwd } = service.manifest.spec.origin
  return cwd === undefined ? undefined : resolve(service.manifest.metadata.workspaceRoot ?? ".", cwd)
}

/** At once, so that nobody can enter between the look and the removal. */
function removeEmpty(path: string): boolean {
  try {
    rmdirSync(path)
    return true
  } catch {
    return false
  }
}

function directoryName(id: string, isolationKey: string): string {
  const name = /^[a-z0-9][a-z0-9_-]{0,63}$/.test(id) ? id : digest(id)
  return isolationKey === "shared" ? name : `${name}-${digest(isolationKey)}`
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16)
}
