import type { Interface, JsonObject, ServiceManifest, Tool } from "@clarity-runtime/contracts"
import { inputSchema, outputSchema } from "./json-schema.ts"
import type { Prepared } from "./prepare.ts"
import { signatureText, type FunctionSignature } from "./types.ts"

/** What stands before an export's name in its tool's. */
export const toolPrefix = "fn__"

const bounds = { tools: 2048, descriptionCharacters: 8192, schemaCharacters: 262_144 } as const

/** The interface of a module and the functions behind its tools, by tool name. */
export interface Offer {
  readonly face: Interface
  readonly functions: ReadonlyMap<string, { readonly index: number; readonly signature: FunctionSignature }>
}

/** Makes the tools of a module: one per function, `health_check` and `describe_service`. */
export function offerOf(manifest: ServiceManifest, prepared: Prepared): Offer {
  const { signatures } = prepared
  const tools: Tool[] = []
  const functions = new Map<string, { index: number; signature: FunctionSignature }>()
  const rejected = signatures.rejected.map(({ item, reason }) => ({
    item: `tool:${toolPrefix}${item.slice(0, 200)}`,
    reason,
  }))
  signatures.functions.forEach((signature, index) => {
    const tool = functionTool(signature)
    const item = `tool:${tool.name}`
    if (JSON.stringify(tool).length > bounds.schemaCharacters)
      rejected.push({ item, reason: "its schema is larger than 256 KiB" })
    else if (tools.length >= bounds.tools - 2)
      rejected.push({ item, reason: `a service has at most ${bounds.tools} tools` })
    else {
      tools.push(tool)
      functions.set(tool.name, { index, signature })
    }
  })
  tools.push(...serviceTools)
  const { displayName, module, version } = manifest.metadata
  const serverInfo = {
    name: module,
    version: version ?? "0",
    ...(displayName === undefined ? {} : { title: displayName }),
  }
  return {
    face: {
      tools,
      resources: [],
      resourceTemplates: [],
      prompts: [],
      capabilities: { tools: {} },
      serverInfo,
      ...(rejected.length > 0 ? { rejected } : {}),
    },
    functions,
  }
}

function functionTool(signature: FunctionSignature): Tool {
  const pure = signature.effects.length === 0
  const effects = pure ? "" : `\n\nEffects: ${signature.effects.join(", ")}.`
  const doc = signature.doc === "" ? signatureText(signature) : signature.doc
  return {
    name: `${toolPrefix}${signature.name}`,
    description: `${doc}${effects}`.slice(0, bounds.descriptionCharacters),
    inputSchema: inputSchema(signature),
    outputSchema: outputSchema(signature),
    annotations: {
      // The effects granted here (log, clock, dice) change nothing; only pure functions answer alike each time.
      readOnlyHint: true,
      destructiveHint: false,
      idempotentHint: pure,
      openWorldHint: false,
    },
  }
}

const readOnly = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false }
const anyObject: JsonObject = {
  type: "object",
  properties: { result: { type: "object" } },
  required: ["result"],
  additionalProperties: false,
}

const serviceTools: readonly Tool[] = [
  {
    name: "health_check",
    description: "Starts a fresh instance of the module and says whether that worked.",
    inputSchema: { type: "object", properties: { verbose: { type: "boolean" } }, additionalProperties: false },
    outputSchema: anyObject,
    annotations: readOnly,
  },
  {
    name: "describe_service",
    description:
      "What this module offers: its functions with their types and comments, and what is not offered and why.",
    inputSchema: { type: "object", properties: {}, additionalProperties: false },
    outputSchema: anyObject,
    annotations: readOnly,
  },
]

/** The answer of `describe_service`. */
export function description(manifest: ServiceManifest, prepared: Prepared, offer: Offer): JsonObject {
  const { signatures, shape } = prepared
  return {
    module: signatures.module || manifest.metadata.module,
    sha256: prepared.sha256,
    typesFrom: signatures.from,
    functions: [...offer.functions].map(([tool, { signature }]) => ({
      tool,
      signature: signatureText(signature),
      description: signature.doc,
      effects: signature.effects,
    })),
    notOffered: (offer.face.rejected ?? []).map(({ item, reason }) => ({ item, reason })),
    imports: shape.imports.map(({ module, name }) => `${module}.${name}`),
    memory: shape.memory ? { minPages: shape.memory.minPages, maxPages: shape.memory.maxPages } : null,
  }
}
