import {
  abortError,
  ClarityError,
  isJsonObject,
  limitsOf,
  type Backend,
  type BackendServices,
  type CallContext,
  type JsonObject,
  type McpRequest,
  type McpResult,
  type Reply,
  type ServiceDefinition,
} from "@clarity-runtime/contracts"
import { ArgumentError, checkArguments } from "./arguments.ts"
import type { Ended } from "./pool/pooled-call.ts"
import type { PooledProgram } from "./pool/worker-pool.ts"
import type { Prepared } from "./prepare.ts"
import { description, offerOf } from "./tools.ts"

/** Milliseconds a call may run unless the service or the operator says otherwise. */
export const defaultCallTimeoutMs = 5000

/** A module as a backend that can be followed by a newer build of itself. */
export interface WasmService extends Backend {
  /** Ends it once its calls under way have ended. */
  retire(): void
}

/** A module as a backend. Owns its program in the pool. */
export function createWasmService(
  service: ServiceDefinition,
  services: Pick<BackendServices, "log" | "clock">,
  prepared: Prepared,
  program: PooledProgram,
  callTimeoutMs: number,
): WasmService {
  const offer = offerOf(service.manifest, prepared)
  const limitMs = limitsOf(service.manifest).timeoutMs ?? callTimeoutMs
  const startedAt = services.clock.now()
  let open = true
  let running = 0
  let retired = false

  const ended = () => {
    running -= 1
    if (retired && running === 0) program.close()
  }

  const run = (index: number, args: Parameters<PooledProgram["run"]>[0]["args"], context: CallContext) => {
    running += 1
    const answered = program.run({
      index,
      args,
      limitMs: Math.min(limitMs, context.limits.totalMs),
      maxResultBytes: Math.floor(context.limits.maxResultBytes / 2),
      signal: context.signal,
      log: (entries) => {
        for (const [stream, text] of entries) services.log.write(stream, text)
      },
    })
    void answered.then(ended, ended)
    return answered
  }

  const callTool = async (name: string, args: unknown, context: CallContext): Promise<McpResult> => {
    const target = offer.functions.get(name)
    if (target) {
      try {
        const checked = checkArguments(target.signature, args)
        const ended = await run(target.index, checked, context)
        return answer(target.signature.name, ended, context)
      } catch (error) {
        if (error instanceof ArgumentError) return failure(`${name}: ${error.message}`)
        throw error
      }
    }
    if (name === "describe_service") return success(description(service.manifest, prepared, offer), context)
    if (name === "health_check") {
      const ended = await run(-1, [], context)
      const verbose = isJsonObject(args) && args["verbose"] === true
      const detail = verbose ? { sha256: prepared.sha256, startedAt: new Date(startedAt).toISOString() } : {}
      if (ended.kind !== "value") return answer("health_check", ended, context)
      const { module } = service.manifest.metadata
      return success({ status: "ok", module, functions: offer.functions.size, ...detail }, context)
    }
    throw new ClarityError("invalid_params", `unknown tool: ${name.slice(0, 128)}`)
  }

  const answer = (name: string, ended: Ended, context: CallContext): McpResult => {
    switch (ended.kind) {
      case "value":
        return success(ended.value, context)
      case "fault":
        return failure(`${name}: ${ended.message}`)
      case "tooLarge":
        throw tooLarge(context)
      case "timeout": {
        const limit = Math.min(limitMs, context.limits.totalMs)
        throw new ClarityError("upstream_timeout", `${name} did not finish within ${limit} ms and was stopped`, {
          data: { service: service.id, reason: "time limit" },
        })
      }
      case "internal":
        services.log.write("runtime", `${name}: ${ended.message}`)
        throw new ClarityError("internal", `${name}: the host could not run it; the service's log says why`, {
          data: { service: service.id },
        })
    }
  }

  return {
    async describe(signal) {
      if (signal.aborted) throw abortError(signal)
      if (!open) throw new ClarityError("unavailable", "the service was stopped")
      return offer.face
    },

    async *call(request: McpRequest, context: CallContext): Reply {
      if (!open) throw new ClarityError("unavailable", "the service was stopped")
      const { method, params } = request
      if (method === "tools/call") {
        const name = params["name"]
        if (typeof name !== "string") throw new ClarityError("invalid_params", "params.name must be a text")
        return await callTool(name, params["arguments"], context)
      }
      if (method === "tools/list") return { tools: offer.face.tools }
      if (method === "ping") return {}
      throw new ClarityError("method_not_found", `this service has no ${method.slice(0, 128)}`)
    },

    vitals: () => ({ startedAt }),

    retire() {
      retired = true
      if (running === 0) program.close()
    },

    async [Symbol.asyncDispose]() {
      open = false
      program.close()
    },
  }
}

/** The value under `result`, and as text: texts as they are, everything else as JSON. */
function success(value: unknown, context: CallContext): McpResult {
  const text = typeof value === "string" ? value : JSON.stringify(value)
  const max = context.limits.maxResultBytes
  // A unit takes at most three bytes as text, six as JSON: short answers need no counting.
  if (text.length * 9 > max) {
    const json = typeof value === "string" ? JSON.stringify(value) : text
    if (Buffer.byteLength(text) + Buffer.byteLength(json) > max) throw tooLarge(context)
  }
  return { content: [{ type: "text", text }], structuredContent: { result: value } }
}

function failure(message: string): McpResult {
  return { content: [{ type: "text", text: message }], isError: true }
}

function tooLarge(context: CallContext): ClarityError {
  const max = context.limits.maxResultBytes
  const data: JsonObject & { service: string; reason: string } = { service: context.service.id, reason: "result limit" }
  return new ClarityError("result_too_large", `the result is larger than the ${max} bytes allowed`, { data })
}
