import {
  ClarityError,
  isJsonObject,
  upstreamError,
  type CallContext,
  type JsonObject,
  type RpcError,
} from "@clarity-runtime/contracts"
import { lacks } from "./capabilities.ts"
import { TransportError, type TransportFailure } from "./transport.ts"

/** An upstream's JSON-RPC error as the end client gets it (protocol reference 4.3). */
export function errorForClient(rpc: RpcError, context: CallContext): ClarityError {
  const name = context.service.namespace
  switch (rpc.code) {
    case -32002:
      return upstreamError({ ...rpc, code: -32602 })
    case -32021: {
      const required = isJsonObject(rpc.data) ? rpc.data["requiredCapabilities"] : undefined
      if (isJsonObject(required) && lacks(context.client.capabilities, required))
        return capabilityMissing(name, required)
      return new ClarityError("internal", `${name} misses a capability that was declared to it`, {
        data: { service: name },
      })
    }
    case -32020:
      return new ClarityError("internal", `${name} refused the headers of the call`, { data: { service: name } })
    case -32022:
      return new ClarityError("internal", `${name} no longer speaks the agreed protocol version`, {
        data: { service: name },
      })
    default:
      return upstreamError(rpc)
  }
}

export function capabilityMissing(name: string, required: JsonObject): ClarityError {
  const kinds = Object.entries(required).map(([kind, detail]) =>
    isJsonObject(detail) && Object.keys(detail).length > 0 ? `${kind} (${Object.keys(detail).join(", ")})` : kind,
  )
  return new ClarityError(
    "capability_missing",
    `${name} needs ${kinds.join(" and ")}, which this client did not declare`,
    {
      data: { service: name, requiredCapabilities: required },
    },
  )
}

/** True when the connection broke under the request, so that nobody knows whether it was executed. */
export function broke(failure: TransportFailure): boolean {
  return failure.status === undefined && (failure.error.code === "unavailable" || failure.error.code === "internal")
}

export function outcomeUnknown(name: string, failure: TransportFailure): ClarityError {
  return new ClarityError(
    "outcome_unknown",
    `${name} went away after the call was sent: it may have been executed, so it was not repeated`,
    { data: { service: name }, cause: failure.error },
  )
}

/** A failure of the peer's own requests: the transport's error, with the failure as its cause for who wants its status. */
export function withCause(failure: TransportFailure): ClarityError {
  const { code, message, data, rpc } = failure.error
  return new ClarityError(code, message, { data, cause: new TransportError(failure), ...(rpc ? { rpc } : {}) })
}
