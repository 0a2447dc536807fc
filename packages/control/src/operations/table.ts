import type { Tool } from "@clarity-runtime/contracts"
import type { ControlContext } from "../context.ts"
import { describeTool } from "../mcp/tool.ts"
import type { Operation, ToolOperation } from "../operation.ts"
import { controlNamespace } from "../runtime-service.ts"
import { bindings } from "./bindings.ts"
import { calling } from "./calling.ts"
import { configuration } from "./configuration.ts"
import { credentials } from "./credentials.ts"
import { history } from "./history.ts"
import { lifecycle } from "./lifecycle.ts"
import { logins } from "./logins.ts"
import { policyDesk } from "./policy.ts"
import { registration } from "./registration.ts"
import { removal } from "./removal.ts"
import { readingServices } from "./services.ts"
import { tokens } from "./tokens.ts"

/** Every operator operation, once. Routes, tools, the OpenAPI document and the client's types come from here. */
export const operations = {
  ...readingServices(describeTools),
  ...history,
  ...lifecycle,
  ...registration,
  ...removal,
  ...credentials,
  ...bindings,
  ...logins,
  ...tokens,
  ...calling,
  ...configuration,
  ...policyDesk(ownTools),
}

export type Operations = typeof operations
export type OperationName = keyof Operations

/** The table for code that treats all operations alike. */
export function eachOperation(): [OperationName, Operation][] {
  return Object.entries(operations) as unknown as [OperationName, Operation][]
}

/** The operations offered as tools under these settings. */
export function offeredTools(context: ControlContext): [OperationName, ToolOperation][] {
  return eachOperation().filter((entry): entry is [OperationName, ToolOperation] => {
    const [, { tool }] = entry
    return tool !== undefined && (tool.gated !== true || context.settings.provisioning)
  })
}

function describeTools(context: ControlContext): { name: string; description: string }[] {
  return offeredTools(context).map(([, { tool, summary }]) => ({
    name: `${controlNamespace}__${tool.name}`,
    description: summary,
  }))
}

function ownTools(context: ControlContext): Tool[] {
  return offeredTools(context).map(([, operation]) => describeTool(operation))
}
