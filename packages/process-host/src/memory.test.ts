import { manualClock } from "@clarity-runtime/testkit"
import { expect, it } from "vitest"
import { createMemoryBook } from "./memory.ts"

const mb = 1024 * 1024

function book(budgetMb: number) {
  const clock = manualClock()
  const processes: { pid: number; group: number; rssBytes: number }[] = []
  let looks = 0
  const memory = createMemoryBook(budgetMb * mb, clock, async () => {
    looks++
    return processes
  })
  return {
    clock,
    memory,
    weighs: (group: number, megabytes: number) =>
      void processes.push({ pid: group + processes.length, group, rssBytes: megabytes * mb }),
    looks: () => looks,
  }
}

it("counts a child as 32 MB until it has been weighed, then as its whole group", async () => {
  const { clock, memory, weighs } = book(100)
  const weight = (await memory.admit("a", "a")).started(10)
  expect(weight.rssBytes).toBe(undefined)
  expect(memory.usage()).toEqual({ processes: 1, rssBytes: 32 * mb, budgetBytes: 100 * mb })
  weighs(10, 40)
  weighs(10, 15)
  weighs(99, 1000)
  await clock.advance(2000)
  memory.usage()
  await clock.advance(1)
  expect(weight.rssBytes).toBe(55 * mb)
  expect(memory.usage().rssBytes).toBe(55 * mb)
})

it("expects of the next child of a service what the last one weighed when grown", async () => {
  const { clock, memory, weighs } = book(100)
  const first = await memory.admit("a", "a")
  first.started(10)
  weighs(10, 60)
  await clock.advance(10_000)
  await expect(memory.admit("a", "a")).rejects.toMatchObject({
    code: "unavailable",
    message: 'service "a" cannot start: local processes use 60 MB of their memory budget of 100 MB',
    data: { service: "a", reason: "memory budget" },
  })
  // Another service is presumed to be small, and fits.
  const other = await memory.admit("b", "b")
  other.release()
  first.release()
  expect((await memory.admit("a", "a")).started(11).rssBytes).toBe(undefined)
})

it("does not hold a leak against the next child", async () => {
  const { clock, memory, weighs } = book(100)
  const first = await memory.admit("a", "a")
  first.started(10)
  weighs(10, 20)
  await clock.advance(10_000)
  memory.usage()
  await clock.advance(2000)
  weighs(10, 500)
  await expect(memory.admit("b", "b")).rejects.toThrow("use 520 MB")
  first.release()
  await expect(memory.admit("a", "a")).resolves.toBeDefined()
})

it("looks at the process table at most every two seconds", async () => {
  const { clock, memory, looks } = book(100)
  ;(await memory.admit("a", "a")).started(10)
  for (let n = 0; n < 50; n++) memory.usage()
  expect(looks()).toBe(1)
  await clock.advance(2000)
  for (let n = 0; n < 50; n++) memory.usage()
  expect(looks()).toBe(2)
})
