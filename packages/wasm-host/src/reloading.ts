import { isDeepStrictEqual } from "node:util"
import type { Backend } from "@clarity-runtime/contracts"
import type { Prepared } from "./prepare.ts"
import type { WasmService } from "./wasm-service.ts"

/** A module as it was read, and the backend made of it. */
export interface Build {
  readonly prepared: Prepared
  readonly service: WasmService
}

/**
 * A module's backend that follows its file: whoever asks again what it offers gets what the file is by then. Calls under
 * way end in the build they began in. A new build that is refused changes nothing but the answer of `describe`.
 */
export function reloading(
  first: Build,
  prepare: () => Promise<Prepared>,
  start: (prepared: Prepared, signal: AbortSignal) => Promise<Build>,
): Backend {
  let current = first
  let asked = false
  let open = true

  async function follow(signal: AbortSignal): Promise<void> {
    const prepared = await prepare()
    if (sameBuild(prepared, current.prepared)) return
    const next = await start(prepared, signal)
    const before = current
    if (open) current = next
    else return next.service[Symbol.asyncDispose]()
    before.service.retire()
  }

  return {
    async describe(signal) {
      if (asked) await follow(signal)
      asked = true
      return current.service.describe(signal)
    },
    call: (request, context) => current.service.call(request, context),
    vitals: () => current.service.vitals?.() ?? {},
    [Symbol.asyncDispose]() {
      open = false
      return current.service[Symbol.asyncDispose]()
    },
  }
}

function sameBuild(one: Prepared, other: Prepared): boolean {
  return one.sha256 === other.sha256 && isDeepStrictEqual(one.signatures, other.signatures)
}
