import { ClarityError, validate } from "@clarity-runtime/contracts"
import type { ControlContext, OperationCaller } from "./context.ts"
import type { Operation } from "./operation.ts"
import { checkReach, viewFor } from "./reach.ts"

/** Validates an input and runs the operation on what its caller reaches; the scope was checked. Throws ClarityError. */
export async function runOperation(
  context: ControlContext,
  operation: Operation,
  input: Record<string, unknown>,
  caller: OperationCaller,
): Promise<unknown> {
  if (operation.provisioning === true && !context.settings.provisioning) {
    throw new ClarityError(
      "forbidden",
      "provisioning is switched off; start the daemon with CLARITY_ENABLE_MCP_PROVISIONING=1 to allow it",
    )
  }
  const given = validate(operation.input, input, "invalid_params", "invalid request")
  const view = viewFor(context, caller.principal)
  checkReach(view, operation, given, caller.principal)
  return operation.run(view, given, caller)
}

/** A fault of our own: the caller is told nothing of it, the operator all. */
export function recordFault(context: ControlContext, where: string, thrown: unknown): void {
  const { cause } = thrown as { cause?: unknown }
  const fault = thrown instanceof ClarityError && cause instanceof Error ? cause : thrown
  context.telemetry.record({
    kind: "control.failed",
    level: "error",
    message: `${where}: ${fault instanceof Error ? fault.message : String(fault)}`,
    data: { stack: fault instanceof Error ? (fault.stack ?? "").slice(0, 4000) : "" },
  })
}
