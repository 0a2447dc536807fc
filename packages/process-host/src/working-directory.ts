import { createHash } from "node:crypto"
import { mkdir, rmdir } from "node:fs/promises"
import { join, resolve } from "node:path"
import type { OriginOf, ServiceDefinition } from "@clarity-runtime/contracts"

export type StdioService = ServiceDefinition & { manifest: { spec: { origin: OriginOf<"local_stdio"> } } }

/** Where a child starts. */
export interface WorkingDirectory {
  readonly path: string
  /** Written by the operator; otherwise it is private to one service and isolation key. */
  readonly declared: boolean
  /** Makes a private directory (mode 0700); a declared one must be there. Failure shows when the child starts. */
  make(): Promise<void>
  /** Removes a private directory in which nothing was kept. */
  tidy(): Promise<void>
}

/** `origin.cwd`, read from the workspace when relative; else `work/<service>` below the state directory. */
export function workingDirectory(service: StdioService, stateDir: string, isolationKey: string): WorkingDirectory {
  const { cwd } = service.manifest.spec.origin
  if (cwd !== undefined) {
    const path = resolve(service.manifest.metadata.workspaceRoot ?? ".", cwd)
    return { path, declared: true, make: async () => {}, tidy: async () => {} }
  }
  const path = join(stateDir, "work", directoryName(service.id, isolationKey))
  return {
    path,
    declared: false,
    make: async () => void (await mkdir(path, { recursive: true, mode: 0o700 }).catch(() => undefined)),
    tidy: () => rmdir(path).catch(() => undefined),
  }
}

function directoryName(id: string, isolationKey: string): string {
  const name = /^[a-z0-9][a-z0-9_-]{0,63}$/.test(id) ? id : digest(id)
  return isolationKey === "shared" ? name : `${name}-${digest(isolationKey)}`
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16)
}
