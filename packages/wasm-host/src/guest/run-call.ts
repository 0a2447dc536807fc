import { byteFunctions } from "./byte-functions.ts"
import { collectionFunctions } from "./collection-functions.ts"
import { effectFunctions } from "./effect-functions.ts"
import { GuestFault, ResultTooLarge } from "./fault.ts"
import type { Host } from "./host.ts"
import type { Instances } from "./instances.ts"
import { jsonFunctions } from "./json-functions.ts"
import { numberFunctions } from "./number-functions.ts"
import { outcomes, type Program } from "./protocol.ts"
import { textFunctions } from "./text-functions.ts"
import type { Plain, WasmValue } from "./values.ts"
import { webAssembly, type WasmImports } from "./webassembly.ts"

/** Every function a module may import here. */
export function importsOf(host: Host): WasmImports {
  return {
    ...textFunctions(host),
    ...numberFunctions(host),
    ...collectionFunctions(host),
    ...jsonFunctions(host),
    ...byteFunctions(host),
    ...effectFunctions(host),
  }
}

export interface Ran {
  readonly outcome: number
  /** The result as JSON, or the message of what went wrong. */
  readonly value: unknown
}

/** Runs one function of a program in an instance as good as new; -1 only makes a new one. Never throws. */
export function runCall(
  host: Host,
  instances: Instances,
  program: Program,
  index: number,
  args: readonly Plain[],
  maxResultBytes: number,
): Ran {
  const target = program.functions[index]
  try {
    host.log.begin()
    const lent = target ? instances.take(program) : instances.make(program)
    host.heap.attach(lent.memory, program.heapBase, program.maxBytes)
    if (!target) return { outcome: outcomes.value, value: null }
    const lowered = args.map((arg, place) => host.values.lower(target.params[place] ?? { kind: "Unit" }, arg))
    const run = lent.instance.exports[target.name] as (...args: WasmValue[]) => WasmValue
    const value = host.values.lift(target.result, run(...lowered), maxResultBytes)
    instances.giveBack(program, lent)
    return { outcome: outcomes.value, value }
  } catch (error) {
    return failed(error)
  } finally {
    host.heap.detach()
    host.maps.clear()
  }
}

function failed(error: unknown): Ran {
  if (error instanceof ResultTooLarge) return { outcome: outcomes.tooLarge, value: error.message }
  const fault =
    error instanceof GuestFault ||
    error instanceof webAssembly.RuntimeError ||
    error instanceof webAssembly.LinkError ||
    error instanceof RangeError
  if (fault) return { outcome: outcomes.fault, value: error.message }
  return { outcome: outcomes.internal, value: error instanceof Error ? `${error.name}: ${error.message}` : "unknown" }
}
