import type { Scope } from "@clarity-runtime/contracts"
import type * as v from "valibot"
import type { ControlContext, OperationCaller } from "./context.ts"
import type { RoutedName } from "./routes.ts"

/** The inputs of an operation: a closed object with camelCase keys, every key bounded. */
export type InputSchema = v.StrictObjectSchema<v.ObjectEntries, undefined>

/**
 * One thing an operator can do, said once: the HTTP route, the MCP tool, the OpenAPI entry and the client's method all
 * come from it. `run` gets a validated input from a caller whose scope and reach are checked, and the runtime as that caller
 * may see it; it throws ClarityError.
 */
export interface Operation<I extends InputSchema = InputSchema, O extends v.GenericSchema = v.GenericSchema> {
  readonly title: string
  readonly summary: string
  readonly input: I
  readonly output: O
  readonly scope: Scope
  /** Its entry in `routes`; absent: a tool only. */
  readonly route?: RoutedName
  readonly tool?: ToolBinding
  /**
   * For callers who reach only some services: `view`, it works on what they see; `unlimited`, it concerns more than that
   * and is refused. Default: `view` where it is about one service (`id`) or needs `read` only.
   */
  readonly reach?: "view" | "unlimited"
  /** Refused everywhere while provisioning is off, not only left out of the tools. */
  readonly provisioning?: true
  run(
    context: ControlContext,
    input: v.InferOutput<I>,
    caller: OperationCaller,
  ): v.InferOutput<O> | Promise<v.InferOutput<O>>
}

/** An operation that is offered as a tool. */
export type ToolOperation = Operation & { readonly tool: ToolBinding }

export interface ToolBinding {
  /** Name under the namespace `runtime`. */
  readonly name: string
  /** Offered only where provisioning is on. */
  readonly gated?: true
  /** Inputs that differ when nothing is said, because a model waits for the outcome where a program polls. */
  readonly defaults?: Readonly<Record<string, unknown>>
  readonly annotations: ToolAnnotations
}

/** Hints of MCP for the person who is asked to approve a call. */
export interface ToolAnnotations {
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  readonly openWorldHint: boolean
}

export const reads: ToolAnnotations = {
  readOnlyHint: true,
  destructiveHint: false,
  idempotentHint: true,
  openWorldHint: false,
}
export const changes: ToolAnnotations = { ...reads, readOnlyHint: false }
export const destroys: ToolAnnotations = { ...changes, destructiveHint: true }

/** Ties the types of input, output and `run` together. */
export function defineOperation<I extends InputSchema, O extends v.GenericSchema>(
  operation: Operation<I, O>,
): Operation<I, O> {
  return operation
}
