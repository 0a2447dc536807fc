import { CallLog, type LogEntry } from "./call-log.ts"
import { Heap } from "./heap.ts"
import { Lists } from "./lists.ts"
import { Maps } from "./maps.ts"
import { Values } from "./values.ts"

/** Fixed answers for tests and replays, in place of the real clock and dice. */
export interface Powers {
  /** What `now()` gives, epoch milliseconds; `sleep` then returns at once. */
  readonly now?: number
  /** `min`: `random_int` gives its smallest value, `random_float` 0.25. */
  readonly random?: "min"
}

/** What the functions a module imports work on: the state of the one call that runs in this thread. */
export interface Host {
  readonly heap: Heap
  readonly lists: Lists
  readonly maps: Maps
  readonly values: Values
  readonly log: CallLog
  readonly powers: Powers
  /** None, as an Option with a payload of any size. */
  none(): number
  some32(value: number): number
  some64(value: bigint): number
  someF64(value: number): number
  /** A text as Some, undefined as None. */
  optionalText(text: string | undefined): number
  ok32(value: number): number
  errText(message: string): number
}

/** A function as a module imports it. */
export type HostFunction = (...args: never[]) => number | bigint | void

export function createHost(powers: Powers, flush: (entries: LogEntry[]) => void): Host {
  const heap = new Heap()
  const lists = new Lists(heap)
  const maps = new Maps()
  const tagged = (tag: number) => {
    const at = heap.allocate(16)
    heap.setI32(at, tag)
    return at
  }
  const some32 = (value: number) => {
    const at = tagged(0)
    heap.setI32(at + 8, value)
    return at
  }
  const none = () => tagged(1)
  return {
    heap,
    lists,
    maps,
    values: new Values(heap, lists, maps),
    log: new CallLog(flush),
    powers,
    none,
    some32,
    some64(value) {
      const at = tagged(0)
      heap.setI64(at + 8, value)
      return at
    },
    someF64(value) {
      const at = tagged(0)
      heap.setF64(at + 8, value)
      return at
    },
    optionalText: (text) => (text === undefined ? none() : some32(heap.writeText(text))),
    ok32: some32,
    errText(message) {
      const text = heap.writeText(message)
      const at = tagged(1)
      heap.setI32(at + 8, text)
      return at
    },
  }
}
