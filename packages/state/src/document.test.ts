import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { beforeEach, describe, expect, it } from "vitest"
import { createDocument, type Document } from "./document.ts"
import { faultyFileSystem, type Fault } from "./faults.ts"
import { nodeFileSystem, type FileSystem } from "./file-system.ts"
import { Damaged } from "./read-durable.ts"

interface Counters {
  readonly counts: Readonly<Record<string, number>>
}

let room: string
let path: string
let time: number
beforeEach(async () => {
  time = Date.UTC(2026, 10, 21)
  room = await realpath(await mkdtemp(join(tmpdir(), "document-")))
  path = join(room, "state", "counters.json")
})

function openCounters(place = path, fs: FileSystem = nodeFileSystem): Promise<Document<Counters>> {
  return createDocument<Counters>({
    path: place,
    version: 1,
    fs,
    clock: { now: () => time++ },
    empty: () => ({ counts: {} }),
    parse(body) {
      if (typeof body["counts"] !== "object" || body["counts"] === null) throw new Damaged("has no counts")
      return { counts: body["counts"] as Record<string, number> }
    },
    serialize: ({ counts }) => ({ counts }),
  })
}

const add = (name: string) => (current: Counters) => ({
  counts: { ...current.counts, [name]: (current.counts[name] ?? 0) + 1 },
})
const reread = async (place = path) => (await openCounters(place)).value.counts

it("writes nothing before the first change", async () => {
  const document = await openCounters()
  await document.update((same) => same)
  expect(await readdir(room)).toEqual([])
  expect(document.generation).toBe(0)
})

it("is a readable JSON file with generation and checksum", async () => {
  const document = await openCounters()
  await document.update(add("a"))
  await document.update(add("a"))
  const text = await readFile(path, "utf8")
  expect(text).toMatch(/^\{\n {2}"version": 1,\n {2}"counts": \{\n {4}"a": 2\n/)
  expect(JSON.parse(text)).toMatchObject({ generation: 2, checksum: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) })
})

describe("transactions", () => {
  it("answers each of many at once with its own value, in few writes, and loses none", async () => {
    const document = await openCounters()
    const values = await Promise.all(Array.from({ length: 100 }, () => document.update(add("n"))))
    expect(values.map(({ counts }) => counts["n"])).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
    expect(document.generation).toBeLessThan(5)
    expect(await reread()).toEqual({ n: 100 })
  })

  it("lets a failing change fail alone", async () => {
    const document = await openCounters()
    const failure = new Error("mine")
    const outcomes = await Promise.allSettled([
      document.update(add("a")),
      document.update(() => {
        throw failure
      }),
      document.update(add("b")),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"])
    expect(outcomes[1]).toMatchObject({ reason: failure })
    expect(await reread()).toEqual({ a: 1, b: 1 })
  })

  it("does not answer before the directory entry is durable", async () => {
    const order: string[] = []
    const watched: FileSystem = {
      ...nodeFileSystem,
      async open(place, flags, mode) {
        const file = await nodeFileSystem.open(place, flags, mode)
        const sync = async () => {
          await file.sync()
          order.push(place === join(room, "state") ? "directory synced" : "file synced")
        }
        return { ...file, sync }
      },
    }
    const document = await openCounters(path, watched)
    // The second change also makes the snapshot of the day.
    for (let count = 0; count < 2; count++) await document.update(add("a"))
    order.length = 0
    await document.update(add("a")).then(() => order.push("answered"))
    expect(order.slice(0, 3)).toEqual(["file synced", "directory synced", "answered"])
  })

  it("finishes what was asked for before it was closed and refuses what comes after", async () => {
    const document = await openCounters()
    const pending = document.update(add("a"))
    await document[Symbol.asyncDispose]()
    expect((await pending).counts).toEqual({ a: 1 })
    await expect(document.update(add("a"))).rejects.toMatchObject({ code: "unavailable" })
    expect(await reread()).toEqual({ a: 1 })
  })

  it("behaves like its model whatever mixture of changes, failures and broken disks it meets", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("add" as const), name: fc.constantFrom("a", "b", "__proto__", "constructor") }),
      fc.record({ kind: fc.constant("throw" as const), name: fc.constant("") }),
    )
    const round = fc.record({ steps: fc.array(step, { maxLength: 6 }), disk: fc.constantFrom("good", "full", "good") })
    await fc.assert(
      fc.asyncProperty(fc.array(round, { maxLength: 8 }), async (rounds) => {
        const place = join(await mkdtemp(join(room, "model-")), "counters.json")
        let full = false
        const disk: FileSystem = {
          ...nodeFileSystem,
          open: (...given) =>
            full && given[2] !== undefined
              ? Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }))
              : nodeFileSystem.open(...given),
        }
        const document = await openCounters(place, disk)
        const model = new Map<string, number>()
        for (const { steps, disk: state } of rounds) {
          full = state === "full"
          await Promise.allSettled(
            steps.map(({ kind, name }) =>
              document.update((current) => {
                if (kind === "throw") throw new Error("refused")
                const counts = new Map(Object.entries(current.counts))
                return { counts: Object.fromEntries(counts.set(name, (counts.get(name) ?? 0) + 1)) }
              }),
            ),
          )
          if (!full) for (const { kind, name } of steps) if (kind === "add") model.set(name, (model.get(name) ?? 0) + 1)
          expect(new Map(Object.entries(document.value.counts))).toEqual(model)
        }
        expect(new Map(Object.entries(await reread(place)))).toEqual(model)
      }),
      { numRuns: 25 },
    )
  })
})

describe("faults", () => {
  /** What an update under a fault did wrong, in words; undefined `calls` counts instead. */
  async function violations(at: number, fault: Fault, lasting: boolean): Promise<string[]> {
    const place = join(await mkdtemp(join(room, "fault-")), "counters.json")
    const good = await openCounters(place)
    await good.update(add("a"))
    await good.update(add("a"))

    const fs = faultyFileSystem(at, fault, { lasting })
    const wrong: string[] = []
    const where = () => `${fault} at call ${at} (${fs.failed}): `
    const refused = (error: unknown) =>
      error instanceof ClarityError && error.code === "storage_error" && error.message.includes(place)
    try {
      const document = await openCounters(place, fs)
      try {
        await document.update(add("a"))
        if (document.value.counts["a"] !== 3) wrong.push(`${where()}acknowledged, not in memory`)
        if ((await reread(place))["a"] !== 3) wrong.push(`${where()}acknowledged, not on disk`)
      } catch (error) {
        if (!refused(error)) wrong.push(`${where()}${String(error)}`)
        if (document.value.counts["a"] !== 2) wrong.push(`${where()}refused, yet changed in memory`)
        const after = (await reread(place))["a"]
        if (after !== 2 && !(lasting && after === 3)) wrong.push(`${where()}refused, yet ${after} on disk`)
        if (!lasting) {
          await document.update(add("a"))
          if ((await reread(place))["a"] !== 3) wrong.push(`${where()}cannot be changed later`)
        }
      }
    } catch (error) {
      if (!refused(error)) wrong.push(`${where()}opening: ${String(error)}`)
      if ((await reread(place))["a"] !== 2) wrong.push(`${where()}opening changed the data`)
    }
    return wrong
  }

  it.each(["EIO", "ENOSPC", "EINTR", "EROFS", "short"] as const)(
    "%s at every call of open and update",
    async (fault) => {
      const place = join(await mkdtemp(join(room, "count-")), "counters.json")
      await (await openCounters(place)).update(add("a"))
      const counting = faultyFileSystem(Infinity)
      await (await openCounters(place, counting)).update(add("a"))
      const wrong: string[] = []
      for (const at of counting.calls.keys())
        wrong.push(...(await violations(at, fault, false)), ...(await violations(at, fault, true)))
      expect(counting.calls.length).toBeGreaterThan(20)
      expect(wrong).toEqual([])
    },
  )

  it("names file and cause in words", async () => {
    await (await openCounters()).update(add("a"))
    const document = await openCounters(path, { ...nodeFileSystem, link: faultyFileSystem(0, "ENOSPC").link })
    await expect(document.update(add("a"))).rejects.toThrow(`${path}: no space left on the disk (ENOSPC)`)
  })
})

describe("damage", () => {
  /** Two generations, a: 1 in `.prev`, a: 2 in the file itself. */
  async function twoGenerations(place = path): Promise<Buffer> {
    const document = await openCounters(place)
    await document.update(add("a"))
    await document.update(add("a"))
    return readFile(place)
  }

  /** Opens what `bytes` made of the file: the value found, or why it was refused. */
  async function openWith(bytes: Uint8Array): Promise<{ a: number | undefined; notices: readonly string[] }> {
    await writeFile(path, bytes)
    const document = await openCounters()
    return { a: document.value.counts["a"], notices: document.notices }
  }

  it("cut off at every byte, it is the last good version, and says so", async () => {
    const whole = await twoGenerations()
    const wrong: string[] = []
    for (let length = 0; length < whole.length; length++) {
      const { a, notices } = await openWith(whole.subarray(0, length))
      // The final newline carries nothing.
      const told =
        length === whole.length - 1 ? a === 2 : a === 1 && notices[0]?.includes("counters.json.prev") === true
      if (!told) wrong.push(`${length} bytes: ${a}, ${notices.join()}`)
    }
    expect(wrong).toEqual([])
  })

  it("with any bit flipped, it is what was written or the last good version, never something else", async () => {
    const whole = await twoGenerations()
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
        const bytes = Buffer.from(whole)
        bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
        const { a, notices } = await openWith(bytes)
        expect([1, 2]).toContain(a)
        expect(notices.length > 0).toBe(a === 1)
      }),
      { numRuns: 300 },
    )
  })

  it.each([
    ["empty", "", "is empty"],
    ["null", "null", "holds null"],
    ["zeros", "\0".repeat(4096), "holds only zero bytes"],
    ["a list", "[]", "holds no JSON object"],
    ["a text", '"counts"', "holds no JSON object"],
    ["no checksum", '{"version":1,"counts":{"a":7},"generation":9}', "has no checksum"],
    ["no UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), "is not UTF-8 text"],
  ])("%s is named, kept aside and replaced by the last good version", async (_name, bytes, why) => {
    await twoGenerations()
    await writeFile(path, bytes)
    const document = await openCounters()
    expect(document.value.counts).toEqual({ a: 1 })
    expect(document.notices[0]).toBe(`${path} ${why}: used ${path}.prev instead`)
    const aside = /^the damaged file is kept as (.*\.corrupt-20261121T00000\d{4}Z)$/.exec(
      String(document.notices[1]),
    )?.[1]
    expect(await readFile(String(aside))).toEqual(Buffer.from(bytes))
    expect((await openCounters()).notices).toEqual([])
    await document.update(add("a"))
    expect(await reread()).toEqual({ a: 2 })
  })

  it("survives the loss of its first generation too, whose copy is made at once", async () => {
    await (await openCounters()).update(add("a"))
    expect((await openWith(Buffer.from("{"))).a).toBe(1)
  })

  it("falls back to the newest good dated snapshot when the last good version is damaged as well", async () => {
    await twoGenerations()
    const document = await openCounters()
    await document.update(add("a"))
    await writeFile(`${path}.prev`, "")
    const { a, notices } = await openWith(Buffer.from("{"))
    expect(notices[0]).toContain(`${path}.2026-11-21.snapshot`)
    expect(a).toBe(1)
  })

  it("has a snapshot whose bytes are its own, from the second generation on", async () => {
    await twoGenerations()
    const names = await readdir(join(room, "state"))
    for (const name of names) if (!name.endsWith(".snapshot")) await writeFile(join(room, "state", name), "{")
    const document = await openCounters()
    expect(document.value.counts).toEqual({ a: 1 })
    expect(document.notices[0]).toContain(`used ${path}.2026-11-21.snapshot instead`)
  })

  it("without any good copy it refuses to open, again and again, and changes nothing", async () => {
    await twoGenerations()
    for (const name of await readdir(join(room, "state"))) await writeFile(join(room, "state", name), "{")
    const before = await readdir(join(room, "state"))
    for (let attempt = 0; attempt < 3; attempt++)
      await expect(openCounters()).rejects.toMatchObject({
        code: "storage_error",
        message: expect.stringContaining(`${path} is not valid JSON`),
      })
    expect(await readdir(join(room, "state"))).toEqual(before)
    expect(await readFile(path, "utf8")).toBe("{")
  })

  it("refuses a file of a newer version and leaves it alone, even when the last good one is older", async () => {
    const newer = await createDocument<Counters>({
      path,
      version: 2,
      empty: () => ({ counts: {} }),
      parse: () => ({ counts: {} }),
      serialize: ({ counts }) => ({ counts }),
    })
    await newer.update(add("future"))
    const text = await readFile(path, "utf8")
    await expect(openCounters()).rejects.toMatchObject({
      code: "storage_error",
      data: { reason: "newer_version" },
      message: expect.stringContaining("format 2, this one reads up to 1"),
    })
    expect(await readFile(path, "utf8")).toBe(text)
  })

  it("reads a file with a byte order mark", async () => {
    const whole = await twoGenerations()
    expect(await openWith(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), whole]))).toEqual({ a: 2, notices: [] })
  })

  it("uses the last good version when the file is gone, and says how to begin anew", async () => {
    await twoGenerations()
    await rm(path)
    const document = await openCounters()
    expect(document.value.counts).toEqual({ a: 1 })
    expect(document.notices[0]).toContain(`${path} is missing (to begin anew, remove ${path}.prev too)`)
  })

  it("keeps a version somebody else wrote meanwhile aside", async () => {
    await twoGenerations()
    const document = await openCounters()
    await writeFile(path, "mine!")
    await document.update(add("a"))
    expect(document.notices[0]).toMatch(/changed by somebody else while in use; that version is kept as .*\.edited-/)
    expect(await reread()).toEqual({ a: 3 })
  })

  it("removes temporary files a killed process left, and nobody else's", async () => {
    await twoGenerations()
    const litter = ".counters.json.4711.01234567-89ab-cdef-0123-456789abcdef.tmp"
    for (const name of [litter, ".counters.json.bak.tmp", ".other.json.4711.tmp"])
      await writeFile(join(room, "state", name), "x")
    await openCounters()
    const names = await readdir(join(room, "state"))
    expect(names).not.toContain(litter)
    expect(names).toEqual(expect.arrayContaining([".counters.json.bak.tmp", ".other.json.4711.tmp"]))
  })
})

describe("kill -9", () => {
  it("at any moment loses nothing acknowledged and leaves a readable file", async () => {
    const script = fileURLToPath(new URL("../test-fixtures/crash-writer.ts", import.meta.url))
    let acknowledged = 0
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, ["--conditions=@clarity-runtime/source", script, path], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      const ended = once(child, "close")
      let patience = 1 + ((round * 7) % 23)
      // What the child wrote to the pipe before it died is read to the end: the oracle.
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged = Math.max(acknowledged, Number(line))
        if (--patience === 0) child.kill("SIGKILL")
      }
      expect(await ended).toEqual([null, "SIGKILL"])
      const document = await openCounters()
      expect(document.value.counts["n"] ?? 0).toBeGreaterThanOrEqual(acknowledged)
      expect(document.notices).toEqual([])
    }
    expect(acknowledged).toBeGreaterThan(10)
  }, 180_000)
})
