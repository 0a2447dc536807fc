import type { McpResult, Reply } from "@clarity-runtime/contracts"
import type { Call, Core } from "./call.ts"
import { isList, list } from "./lists.ts"
import { pipeline } from "./pipeline.ts"

/** Lists are answered from memory; everything else takes the path of a call. */
export function dispatch(core: Core, call: Call): Reply {
  return isList(call.request.method) ? answered(() => list(core, call)) : pipeline(core, call)
}

async function* answered(result: () => McpResult): Reply {
  return result()
}
