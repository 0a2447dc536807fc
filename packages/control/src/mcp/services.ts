import {
  asClarityError,
  ClarityError,
  hasScope,
  isJsonObject,
  metaKeys,
  unknownTarget,
  type Backend,
  type CallContext,
  type Interface,
  type McpResult,
  type Reply,
  type ServiceDefinition,
  type Tool,
} from "@clarity-runtime/contracts"
import type { ControlContext } from "../context.ts"
import type { ToolOperation } from "../operation.ts"
import { offeredTools } from "../operations/table.ts"
import { controlNamespace, runtimeDefinition } from "../runtime-service.ts"
import { recordFault, runOperation } from "../run-operation.ts"
import { gatherInput } from "../http/input.ts"
import { describeTool } from "./tool.ts"

/** A service that is part of the program. */
export interface ControlService {
  readonly definition: ServiceDefinition
  readonly backend: Backend
  readonly interface: Interface
}

/**
 * The operations as MCP tools, one service with the namespace `runtime`. Gated tools exist only where provisioning is
 * on. Every failure, a wrong argument or a missing scope as well, is an `isError` result that says what is wrong.
 */
export function controlServices(context: ControlContext): ControlService[] {
  const offered = offeredTools(context)
  const byName = new Map(offered.map(([, operation]) => [operation.tool.name, operation]))
  const tools: Tool[] = offered.map(([, operation]) => describeTool(operation))
  const face: Interface = {
    tools,
    resources: [],
    resourceTemplates: [],
    prompts: [],
    capabilities: { tools: {} },
    instructions:
      "Tools to look after the services behind this endpoint: what is registered, how it runs, what happened.",
  }
  const definition = runtimeDefinition()
  const backend: Backend = {
    describe: async () => face,
    async *call({ method, params }, call): Reply {
      if (method !== "tools/call")
        throw new ClarityError("method_not_found", `method not found: ${method.slice(0, 200)}`)
      const { name, arguments: given } = params
      const operation = byName.get(String(name))
      if (operation === undefined) throw unknownTarget("tool", String(name))
      return callOperation(context, operation, given, call)
    },
    [Symbol.asyncDispose]: async () => {},
  }
  return [{ definition, backend, interface: face }]
}

async function callOperation(
  context: ControlContext,
  operation: ToolOperation,
  given: unknown,
  { principal, signal, id }: CallContext,
): Promise<McpResult> {
  try {
    if (!hasScope(principal, operation.scope)) {
      throw new ClarityError("forbidden", `${operation.tool.name} needs the scope ${operation.scope}`)
    }
    if (given !== undefined && !isJsonObject(given))
      throw new ClarityError("invalid_params", "arguments must be an object")
    const input = { ...operation.tool.defaults, ...gatherInput(operation.input, { path: {}, body: given ?? {} }) }
    const value = await runOperation(context, operation, input, { principal, signal })
    return { content: [{ type: "text", text: JSON.stringify(value, null, 2) }], structuredContent: value }
  } catch (thrown) {
    const error = asClarityError(thrown)
    if (error.code === "cancelled") throw error
    if (error.code === "internal") recordFault(context, operation.tool.name, thrown)
    return {
      content: [{ type: "text", text: error.message }],
      isError: true,
      _meta: { [metaKeys.error]: { ...error.toData(), service: controlNamespace, requestId: id } },
    }
  }
}
