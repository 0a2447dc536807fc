import { ClarityError, validate } from "@clarity-runtime/contracts"
import type { ControlContext, OperationCaller } from "./context.ts"
import type { Operation } from "./operation.ts"

/** Validates an input and runs the operation; the scope was checked. Throws ClarityError. */
export async function runOperation(
  context: ControlContext,
  operation: Operation,
  input: Record<string, unknown>,
  caller: OperationCaller,
): Promise<unknown> {
  if (operation.provisioning === true && !context.settings.provisioning) {
    throw new ClarityError(
      "forbidden",
      "provisioning is switched off; set CLARITY_ENABLE_MCP_PROVISIONING=1 to allow it",
    )
  }
  return operation.run(context, validate(operation.input, input, "invalid_params", "invalid request"), caller)
}
