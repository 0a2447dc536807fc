import {
  namespaceOf,
  parseManifest,
  serviceIdOf,
  type OriginOf,
  type ServiceDefinition,
  type ServiceManifest,
  type ServiceManifestInput,
} from "@clarity-runtime/contracts"

/** What a test may want different from a plain manifest. `origin`, `metadata` and `spec` are laid over the defaults. */
export interface ManifestOverrides<Origin> {
  readonly name?: string
  readonly origin?: Partial<Origin>
  readonly metadata?: Partial<ServiceManifestInput["metadata"]>
  readonly spec?: Partial<Omit<ServiceManifestInput["spec"], "origin">>
}

/** A valid manifest of a child process; `name` (default "echo") becomes its module and so its namespace. */
export function stdioManifest(overrides: ManifestOverrides<OriginOf<"local_stdio">> = {}): ServiceManifest {
  const name = overrides.name ?? "echo"
  return manifestOf(name, `stdio:${name}`, overrides, { type: "local_stdio", command: "node", args: [`${name}.mjs`] })
}

/** A valid manifest of a remote server at `https://<name>.example/mcp`. */
export function remoteManifest(overrides: ManifestOverrides<OriginOf<"remote_mcp">> = {}): ServiceManifest {
  const name = overrides.name ?? "echo"
  const endpoint = overrides.origin?.endpoint ?? `https://${name.toLowerCase()}.example/mcp`
  return manifestOf(name, endpoint, overrides, { type: "remote_mcp", endpoint, transport: "streamable_http" })
}

/** A valid manifest of a wasm module at `/modules/<name>.wasm`. */
export function wasmManifest(overrides: ManifestOverrides<OriginOf<"local_wasm">> = {}): ServiceManifest {
  const name = overrides.name ?? "echo"
  return manifestOf(name, `/modules/${name}.clarity`, overrides, {
    type: "local_wasm",
    wasmPath: `/modules/${name}.wasm`,
    entry: "mcp_main",
  })
}

/** A service as rooms are handed it: derived id, its own namespace. */
export function serviceDefinition(
  manifest: ServiceManifest = stdioManifest(),
  overrides: Partial<ServiceDefinition> = {},
): ServiceDefinition {
  return { id: serviceIdOf(manifest), namespace: namespaceOf(manifest), manifest, ...overrides }
}

function manifestOf<Origin extends ServiceManifest["spec"]["origin"]>(
  name: string,
  sourceFile: string,
  overrides: ManifestOverrides<Origin>,
  origin: Origin,
): ServiceManifest {
  return parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile, module: name, ...overrides.metadata },
    spec: { ...overrides.spec, origin: { ...origin, ...overrides.origin } },
  })
}
