import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { createDocument, type Document } from "./document.ts"
import { faultyFileSystem, type Fault } from "./faults.ts"
import { nodeFileSystem, type FileSystem } from "./file-system.ts"
import { Damaged } from "./read-durable.ts"

// The engine against a model of three lines: what was acknowledged is there, what was refused is not, and whatever
// becomes of the file is told. Sequences are random; a failing one is shrunk to the shortest that still fails.
type Entries = Readonly<Record<string, number>>
type Twin = "before" | "same"

let room: string
beforeEach(async () => {
  room = await realpath(await mkdtemp(join(tmpdir(), "model-")))
})
afterEach(() => rm(room, { recursive: true, force: true }))

function open(dir: string, twin: Twin, day: number, fs: FileSystem = nodeFileSystem): Promise<Document<Entries>> {
  return createDocument<Entries>({
    path: join(dir, "entries.json"),
    version: 1,
    twin,
    fs,
    clock: { now: () => Date.UTC(2026, 0, 1 + day) },
    empty: () => ({}),
    parse({ entries }) {
      if (typeof entries !== "object" || entries === null) throw new Damaged("has no entries")
      return entries as Entries
    },
    serialize: (entries) => ({ entries }),
  })
}

const isRefusal = (error: unknown) => error instanceof ClarityError && error.code === "storage_error"

const key = fc.constantFrom("a", "b", "__proto__", "constructor", "é")
const change = fc.oneof(
  { weight: 4, arbitrary: fc.record({ does: fc.constant("set" as const), key, value: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant("remove" as const), key, value: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant("throw" as const), key, value: fc.constant(0) }) },
)
const fault = fc.record({
  at: fc.nat(40),
  fault: fc.constantFrom<Fault>("EIO", "ENOSPC", "EINTR", "EROFS", "EACCES", "short"),
})
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ step: fc.constant("change" as const), changes: fc.array(change, { maxLength: 4 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      step: fc.constant("fault" as const),
      fault,
      changes: fc.array(change, { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ step: fc.constant("reopen" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      step: fc.constant("damage" as const),
      place: fc.double({ min: 0, max: 0.99, noNaN: true }),
    }),
  },
)
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never

function applied(entries: Entries, { does, key, value }: Change): Entries {
  if (does === "throw") throw new RangeError("not this one")
  const map = new Map(Object.entries(entries))
  if (does === "set") map.set(key, value)
  else map.delete(key)
  return Object.fromEntries(map)
}

const text = (entries: Entries) => JSON.stringify(Object.entries(entries).toSorted(([a], [b]) => (a < b ? -1 : 1)))

describe.each<Twin>(["before", "same"])("twin: %s", (twin) => {
  it("is its model, whatever is changed, refused by the disk, opened again and damaged", async () => {
    let faultsMet = 0
    let damagesMet = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const dir = await mkdtemp(join(room, "run-"))
        let day = 0
        /** Every durable value so far, the newest last. */
        let history: Entries[] = [{}]
        const now = () => history.at(-1) as Entries
        let document = await open(dir, twin, day)

        const changeAll = async (changes: readonly Change[]): Promise<void> => {
          const outcomes = await Promise.allSettled(
            changes.map((each) => document.update((entries) => applied(entries, each))),
          )
          for (const [index, outcome] of outcomes.entries()) {
            const each = changes[index] as Change
            if (outcome.status === "fulfilled") history.push(applied(now(), each))
            else if (each.does === "throw") expect(outcome.reason).toBeInstanceOf(RangeError)
            else expect(isRefusal(outcome.reason), String(outcome.reason)).toBe(true)
          }
          expect(text(document.value)).toBe(text(now()))
        }

        for (const each of steps) {
          if (each.step === "change") await changeAll(each.changes)
          if (each.step === "fault") {
            await document[Symbol.asyncDispose]()
            const fs = faultyFileSystem(each.fault.at, each.fault.fault)
            try {
              document = await open(dir, twin, day, fs)
              expect(text(document.value)).toBe(text(now()))
              await changeAll(each.changes)
            } catch (error) {
              if (!isRefusal(error)) throw error
              document = await open(dir, twin, day)
            }
            if (fs.failed !== undefined) faultsMet++
            // What a new process finds is what this one holds.
            expect(text((await open(dir, twin, day)).value)).toBe(text(now()))
          }
          if (each.step === "reopen") {
            await document[Symbol.asyncDispose]()
            document = await open(dir, twin, ++day)
            expect(document.notices).toEqual([])
          }
          if (each.step === "damage" && (await readdir(dir)).includes("entries.json")) {
            await document[Symbol.asyncDispose]()
            const whole = await readFile(join(dir, "entries.json"))
            // The last byte is a line break that carries nothing.
            await writeFile(join(dir, "entries.json"), whole.subarray(0, Math.floor(each.place * (whole.length - 1))))
            damagesMet++
            // Its second copy may have been refused by the disk: then it is all there is, and nothing else is made of it.
            if (twin === "before" && !(await readdir(dir)).some((name) => /\.(?:prev|snapshot)$/.test(name))) {
              await expect(open(dir, twin, day)).rejects.toMatchObject({ data: { reason: "damaged" } })
              await writeFile(join(dir, "entries.json"), whole)
              document = await open(dir, twin, day)
              continue
            }
            document = await open(dir, twin, day)
            expect(document.notices[0]).toContain("entries.json.prev instead")
            const expected = twin === "same" ? [now()] : history
            expect(expected.map(text)).toContain(text(document.value))
            history = [document.value]
          }
          expect(text(document.value)).toBe(text(now()))
        }
        await document[Symbol.asyncDispose]()
        await rm(dir, { recursive: true, force: true })
      }),
      { numRuns: 60 },
    )
    expect(faultsMet).toBeGreaterThan(20)
    expect(damagesMet).toBeGreaterThan(5)
  })
})
