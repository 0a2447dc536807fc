import { getHeapStatistics, setFlagsFromString } from "node:v8"

/** What a small heap may grow by before V8 collects all of it. */
const roomBytes = 64 * 1024 * 1024
const everyMs = 10_000

/**
 * V8 collects a heap of 20 MB whenever some 10 MB have come in, and buffers count: a service that sends megabytes, wanted
 * or not, would start that several times a second, and every call waits for it. Gives a small heap a fixed room to grow
 * instead; a large one is left to V8. Belongs to the whole process, so only the program does it, until it ends.
 */
export function leaveHeapRoom(): void {
  const set = () => setFlagsFromString(`--heap-growing-percent=${growthPercent(getHeapStatistics().used_heap_size)}`)
  set()
  setInterval(set, everyMs).unref()
}

/** Percent that a heap of so many bytes may grow by; 0 leaves it to V8. */
export function growthPercent(heapBytes: number): number {
  return heapBytes < roomBytes ? Math.min(500, Math.round((100 * roomBytes) / heapBytes)) : 0
}
