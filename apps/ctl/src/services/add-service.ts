import { resolve } from "node:path"
import type { JsonObject } from "@clarity-runtime/contracts"
import type { ControlClient } from "@clarity-runtime/control/client"
import { compile, sha256Of } from "./compiler.ts"
import type { Service } from "./find-service.ts"
import { baseName, commandManifest, moduleManifest, remoteManifest } from "./manifests.ts"
import type { Addition } from "./recognise.ts"
import type { RemoteOptions, ServiceOptions } from "./service-flags.ts"

export interface AddOptions extends ServiceOptions, RemoteOptions {
  readonly wasm?: string | undefined
  readonly entry?: string | undefined
  readonly env?: readonly string[] | undefined
  readonly cwd?: string | undefined
  readonly "compiler-bin": string
  readonly "no-start"?: boolean | undefined
}

/** What `add` answers under `--json`; the first five keys are 0.9's. */
export interface Added {
  readonly ok: boolean
  readonly serviceId: string
  readonly sourceFile: string
  readonly wasmPath: string | null
  readonly module: string
  readonly namespace: string
  readonly lifecycle: string
  readonly health: string
  readonly lastError?: string
  readonly hint?: string
}

export interface AddedService {
  readonly added: Added
  readonly service: Service
}

/** Compiles where needed, registers, and waits until the service runs or has failed. Throws ClarityError. */
export async function addService(
  client: ControlClient,
  addition: Addition,
  options: AddOptions,
  workspace: string,
): Promise<AddedService> {
  const manifest = await manifestFor(addition, options, workspace)
  const startNow = options["no-start"] !== true
  const { service } = await client.applyManifest({ manifest, startNow, introspect: startNow })
  const { lifecycle, health, lastError, hint } = service.runtime
  const metadata = manifest["metadata"] as { sourceFile: string; module: string }
  const { wasmPath } = (manifest["spec"] as { origin: { wasmPath?: string } }).origin
  return {
    service,
    added: {
      ok: !startNow || lifecycle === "RUNNING",
      serviceId: service.serviceId,
      sourceFile: metadata.sourceFile,
      wasmPath: wasmPath ?? null,
      module: metadata.module,
      namespace: service.namespace,
      lifecycle,
      health,
      ...(lastError === undefined ? {} : { lastError }),
      ...(hint === undefined ? {} : { hint }),
    },
  }
}

async function manifestFor(addition: Addition, options: AddOptions, workspace: string): Promise<JsonObject> {
  switch (addition.kind) {
    case "remote":
      return remoteManifest(addition.endpoint, options)
    case "command":
      return commandManifest(addition.command, {
        ...options,
        cwd: options.cwd === undefined ? undefined : resolve(workspace, options.cwd),
      })
    case "module": {
      const { wasmPath, sourceFile } = addition
      const module = options.module ?? baseName(wasmPath)
      return moduleManifest({ module, sourceFile, wasmPath, sha256: await sha256Of(wasmPath) }, options)
    }
    case "source": {
      const { sourceFile } = addition
      const module = options.module ?? baseName(sourceFile)
      const wasmPath = resolve(workspace, options.wasm ?? `.clarity/build/${module}.wasm`)
      await compile(options["compiler-bin"], sourceFile, wasmPath)
      return moduleManifest({ module, sourceFile, wasmPath, sha256: await sha256Of(wasmPath) }, options)
    }
  }
}
