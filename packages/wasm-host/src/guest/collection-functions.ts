import type { Host, HostFunction } from "./host.ts"
import { strideOf } from "./lists.ts"

/** Lists, maps and the heap itself. */
export function collectionFunctions(host: Host): Record<string, HostFunction> {
  return { ...memoryFunctions(host), ...listFunctions(host), ...mapFunctions(host) }
}

function memoryFunctions({ heap }: Host): Record<string, HostFunction> {
  return {
    __alloc: (size: number) => heap.allocate(size),
    arena_save: () => BigInt(heap.top),
    arena_restore: (mark: bigint) => heap.restore(mark),
    arena_restore_keeping_str: (mark: bigint, at: number) => {
      const kept = Buffer.from(heap.block(at))
      heap.restore(mark)
      return heap.writeBlock(kept)
    },
    memory_stats: () => heap.writeText(JSON.stringify(heap.stats)),
  }
}

function listFunctions({ heap, lists }: Host): Record<string, HostFunction> {
  const get64 = (list: number, index: bigint) => {
    const at = lists.element(list, index, 8)
    return at === undefined ? 0n : heap.i64(at)
  }
  /** A copy of the list, and the address of element i in it when there is one. */
  const changed = (list: number, index: bigint, stride: 4 | 8) => {
    const copy = lists.copy(list, 0, lists.length(list, stride), stride, 0)
    return { copy, at: lists.element(copy, index, stride) }
  }
  return {
    list_length: (list: number) => BigInt(heap.u32(list)),
    list_get_i64: get64,
    list_get_i32: (list: number, index: bigint) => {
      const at = lists.element(list, index, 4)
      return at === undefined ? 0 : heap.i32(at)
    },
    list_head_i64: (list: number) => get64(list, 0n),
    list_tail: (list: number, size: number) => {
      const stride = strideOf(size)
      const count = lists.length(list, stride)
      return lists.copy(list, Math.min(1, count), count, stride, 0)
    },
    list_append_i64: (list: number, value: bigint) => {
      const count = lists.length(list, 8)
      const copy = lists.copy(list, 0, count, 8, 1)
      heap.setI64(copy + 4 + count * 8, value)
      return copy
    },
    list_append_i32: (list: number, value: number) => {
      const count = lists.length(list, 4)
      const copy = lists.copy(list, 0, count, 4, 1)
      heap.setI32(copy + 4 + count * 4, value)
      return copy
    },
    list_concat: (a: number, b: number, size: number) => lists.concat(a, b, strideOf(size)),
    list_reverse: (list: number, size: number) => lists.reverse(list, strideOf(size)),
    list_set_i64: (list: number, index: bigint, value: bigint) => {
      const { copy, at } = changed(list, index, 8)
      if (at !== undefined) heap.setI64(at, value)
      return copy
    },
    list_set_i32: (list: number, index: bigint, value: number) => {
      const { copy, at } = changed(list, index, 4)
      if (at !== undefined) heap.setI32(at, value)
      return copy
    },
  }
}

function mapFunctions(host: Host): Record<string, HostFunction> {
  const { heap, lists, maps } = host
  const wide = (value: number | bigint) => BigInt.asIntN(64, BigInt(value))
  const narrow = (value: number | bigint) => Number(BigInt.asIntN(32, BigInt(value)))
  const get32 = (handle: number, key: string | bigint) => {
    const value = maps.get(handle, key)
    return value === undefined ? host.none() : host.some32(narrow(value))
  }
  const get64 = (handle: number, key: string | bigint) => {
    const value = maps.get(handle, key)
    return value === undefined ? host.none() : host.some64(wide(value))
  }
  const has = (handle: number, key: string | bigint) => (maps.get(handle, key) === undefined ? 0 : 1)
  const wideList = (values: readonly (number | bigint)[]) => {
    const list = lists.create(values.length, 8)
    values.forEach((value, index) => heap.setI64(list + 4 + index * 8, wide(value)))
    return list
  }
  return {
    map_new: () => maps.create(),
    map_size: (handle: number) => BigInt(maps.size(handle)),
    map_has_str: (handle: number, key: number) => has(handle, heap.text(key)),
    map_get_str_i32: (handle: number, key: number) => get32(handle, heap.text(key)),
    map_get_str_i64: (handle: number, key: number) => get64(handle, heap.text(key)),
    map_set_str_i32: (handle: number, key: number, value: number) => maps.set(handle, heap.text(key), value),
    map_set_str_i64: (handle: number, key: number, value: bigint) => maps.set(handle, heap.text(key), value),
    map_remove_str: (handle: number, key: number) => maps.remove(handle, heap.text(key)),
    map_keys_str: (handle: number) => lists.ofTexts([...maps.entries(handle).keys()].map(String)),
    map_values_i32: (handle: number) => {
      const values = [...maps.entries(handle).values()]
      const list = lists.create(values.length, 4)
      values.forEach((value, index) => heap.setI32(list + 4 + index * 4, narrow(value)))
      return list
    },
    map_has_i64: has,
    map_get_i64_i32: get32,
    map_get_i64_i64: get64,
    map_set_i64_i32: (handle: number, key: bigint, value: number) => maps.set(handle, key, value),
    map_set_i64_i64: (handle: number, key: bigint, value: bigint) => maps.set(handle, key, value),
    map_remove_i64: (handle: number, key: bigint) => maps.remove(handle, key),
    map_keys_i64: (handle: number) =>
      wideList([...maps.entries(handle).keys()].filter((key): key is bigint => typeof key === "bigint")),
    map_values_i64: (handle: number) => wideList([...maps.entries(handle).values()]),
  }
}
