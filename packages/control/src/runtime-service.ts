import { namespaceOf, parseManifest, type ServiceDefinition } from "@clarity-runtime/contracts"

/** The namespace of the runtime's own tools. */
export const controlNamespace = "runtime"

/** The service they belong to: part of the program, in no registry. */
export function runtimeDefinition(): ServiceDefinition {
  const manifest = parseManifest({
    apiVersion: "clarity.runtime/v1",
    kind: "MCPService",
    metadata: { sourceFile: "builtin:runtime", module: controlNamespace, displayName: "Clarity Runtime" },
    spec: { origin: { type: "local_stdio", command: "builtin:runtime" } },
  })
  return { id: "runtime", namespace: namespaceOf(manifest), manifest }
}
