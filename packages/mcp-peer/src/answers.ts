import { ClarityError, isJsonObject, type CallLimits, type JsonObject, type RpcError } from "@clarity-runtime/contracts"
import type { Ended } from "./exchange.ts"

/** What a JSON-RPC response says; one that says nothing sensible is a failure of the upstream's. */
export function readAnswer(
  message: JsonObject,
  name: string,
  bytes: number | undefined,
  limits: CallLimits | undefined,
): Ended {
  const { error, result } = message
  if (limits && bytes !== undefined && bytes > limits.maxResultBytes)
    return broken("result_too_large", `${name} answered with ${bytes} bytes; ${limits.maxResultBytes} are allowed`)
  if (error !== undefined && error !== null) {
    const { code, message: text, data } = isJsonObject(error) ? error : {}
    if (typeof code !== "number" || !Number.isInteger(code) || typeof text !== "string")
      return broken("upstream_invalid", `${name} sent a malformed error`)
    const rpc: RpcError = { code, message: text, ...(data === undefined ? {} : { data }) }
    return { kind: "error", rpc }
  }
  if (!isJsonObject(result)) return broken("upstream_invalid", `${name} sent a result that is no object`)
  return { kind: "result", result }
}

function broken(code: "upstream_invalid" | "result_too_large", message: string): Ended {
  return { kind: "failed", failure: { error: new ClarityError(code, message), sent: true } }
}
