import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, stat, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import * as fc from "fast-check"
import { beforeEach, describe, expect, it } from "vitest"
import { ensureDirectory } from "./directory.ts"
import { faultyFileSystem, type Fault } from "./faults.ts"
import { nodeFileSystem, type FileSystem } from "./file-system.ts"
import { safeWrite } from "./safe-write.ts"

let room: string
beforeEach(async () => {
  room = await realpath(await mkdtemp(join(tmpdir(), "safe-write-")))
})

const faults: readonly Fault[] = ["EIO", "ENOSPC", "EINTR", "EROFS", "short"]
const content = (path: string) => readFile(path, "utf8")

/** How many calls a write of `bytes` over an existing file makes. */
async function callsOf(existing: boolean): Promise<readonly string[]> {
  const path = join(await mkdtemp(join(room, "count-")), "state.json")
  if (existing) await writeFile(path, "old")
  const fs = faultyFileSystem(Infinity)
  await safeWrite(path, "new", { fs })
  return fs.calls
}

/** What a write under a fault did wrong, in words. */
async function violations(at: number, fault: Fault, existing: boolean, lasting = false): Promise<string[]> {
  const directory = await mkdtemp(join(room, "fault-"))
  const path = join(directory, "state.json")
  const old = existing ? "old".repeat(1000) : undefined
  const fresh = "new".repeat(1000)
  if (old !== undefined) await writeFile(path, old)
  const fs = faultyFileSystem(at, fault, { lasting })
  const error = await safeWrite(path, fresh, { fs }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  const names = await readdir(directory)
  const now = names.includes("state.json") ? await content(path) : undefined
  const litter = names.filter((name) => !["state.json", "state.json.prev"].includes(name))

  const wrong: string[] = []
  const where = `${fault} at call ${at} (${fs.failed}): `
  if (error === undefined && now !== fresh) wrong.push(`${where}acknowledged and not there`)
  if (error !== undefined) {
    const named = error instanceof ClarityError && error.message.includes(path) && error.message.includes(fault)
    if (!named) wrong.push(`${where}${String(error)}`)
    if (now !== old && !(lasting && now === fresh)) wrong.push(`${where}refused, yet changed`)
  }
  // Only where removing litter is what failed.
  if (litter.length > (fs.failed === "remove" ? 1 : 0) && !lasting) wrong.push(`${where}left ${litter.join()}`)
  await safeWrite(path, "later")
  if ((await content(path)) !== "later") wrong.push(`${where}cannot be written later`)
  return wrong
}

describe.each([{ existing: true }, { existing: false }])("file there: $existing", ({ existing }) => {
  it.each(faults)("%s at any one call leaves the old or the new content, whole, and no litter", async (fault) => {
    const calls = await callsOf(existing)
    expect(calls.length).toBeGreaterThan(8)
    const wrong = await Promise.all([...calls.keys()].map((at) => violations(at, fault, existing)))
    expect(wrong.flat()).toEqual([])
  })

  it.each(faults)("%s from any call on leaves the old or the new content, whole", async (fault) => {
    const calls = await callsOf(existing)
    const wrong = await Promise.all([...calls.keys()].map((at) => violations(at, fault, existing, true)))
    expect(wrong.flat()).toEqual([])
  })
})

it("goes on after short writes and interruptions instead of failing or truncating", async () => {
  const path = join(room, "state.json")
  let interrupted = 0
  const stingy: FileSystem = {
    ...nodeFileSystem,
    async open(place, flags, mode) {
      const file = await nodeFileSystem.open(place, flags, mode)
      return {
        ...file,
        write: (bytes, offset) => {
          if (interrupted++ % 3 === 0) return Promise.reject(Object.assign(new Error("interrupted"), { code: "EINTR" }))
          return file.write(bytes.subarray(0, offset + 7), offset)
        },
      }
    },
  }
  await safeWrite(path, "x".repeat(500), { fs: stingy })
  expect(await content(path)).toBe("x".repeat(500))
})

it("fails when the disk takes no bytes at all, rather than trying for ever", async () => {
  const path = join(room, "state.json")
  await writeFile(path, "old")
  const full: FileSystem = {
    ...nodeFileSystem,
    open: async (place, flags, mode) => ({ ...(await nodeFileSystem.open(place, flags, mode)), write: async () => 0 }),
  }
  await expect(safeWrite(path, "new", { fs: full })).rejects.toMatchObject({ code: "storage_error" })
  expect(await content(path)).toBe("old")
  expect(await readdir(room)).toEqual(["state.json"])
})

it("syncs the file before the rename and the directory after it", async () => {
  const fs = faultyFileSystem(Infinity)
  await safeWrite(join(room, "state.json"), "new", { fs })
  const order = fs.calls.filter((call) => ["write", "sync", "rename"].includes(call))
  expect(order).toEqual(["write", "sync", "rename", "sync"])
})

it("writes through a symbolic link, a dangling one too, and leaves it one", async () => {
  await mkdir(join(room, "real"))
  await mkdir(join(room, "linked"))
  await writeFile(join(room, "real", "a.json"), "old")
  for (const name of ["a.json", "dangling.json"]) {
    const link = join(room, "linked", name)
    await symlink(join("..", "real", name), link)
    await safeWrite(link, "new")
    expect((await lstat(link)).isSymbolicLink()).toBe(true)
    expect(await content(join(room, "real", name))).toBe("new")
  }
  expect(await content(join(room, "real", "a.json.prev"))).toBe("old")
  expect((await readdir(join(room, "linked"))).sort()).toEqual(["a.json", "dangling.json"])
})

it("refuses a loop of links and what is no regular file", async () => {
  await symlink("b", join(room, "a"))
  await symlink("a", join(room, "b"))
  await expect(safeWrite(join(room, "a"), "x")).rejects.toThrow(/too many symbolic links \(ELOOP\)/)
  await mkdir(join(room, "directory"))
  await expect(safeWrite(join(room, "directory"), "x")).rejects.toThrow(/it is a directory \(EISDIR\)/)
  await expect(safeWrite(join(room, "missing", "x"), "x")).rejects.toThrow(/no such file or directory \(ENOENT\)/)
})

it("makes files 0600 and directories 0700 whatever the umask, and keeps the mode of a file that is there", async () => {
  for (const umask of [0o000, 0o022, 0o777]) {
    const before = process.umask(umask)
    try {
      const directory = join(room, `umask-${umask}`, "deep")
      await ensureDirectory(directory)
      const path = join(directory, "state.json")
      await safeWrite(path, "1")
      expect((await stat(directory)).mode & 0o777).toBe(0o700)
      expect((await stat(join(room, `umask-${umask}`))).mode & 0o777).toBe(0o700)
      expect((await stat(path)).mode & 0o777).toBe(0o600)

      const shared = join(directory, "shared.json")
      await safeWrite(shared, "1", { mode: 0o640 })
      await safeWrite(shared, "2")
      expect((await stat(shared)).mode & 0o777).toBe(0o640)
    } finally {
      process.umask(before)
    }
  }
})

it.runIf(process.getuid?.() === 0)("keeps the owner of a file that is there", async () => {
  const path = join(room, "state.json")
  await writeFile(path, "old")
  const file = await nodeFileSystem.open(path, 0)
  await file.setOwner(12_345, 12_346)
  await file.close()
  await safeWrite(path, "new")
  expect(await stat(path)).toMatchObject({ uid: 12_345, gid: 12_346 })
})

it("takes rights away from others when the owner cannot be kept", async () => {
  const path = join(room, "state.json")
  await writeFile(path, "old", { mode: 0o666 })
  const stranger: FileSystem = {
    ...nodeFileSystem,
    facts: async (place) => ({ ...(await nodeFileSystem.facts(place)), owner: 999_999 }),
    open: async (place, flags, mode) => ({
      ...(await nodeFileSystem.open(place, flags, mode)),
      setOwner: () => Promise.reject(Object.assign(new Error("no"), { code: "EPERM" })),
    }),
  }
  await safeWrite(path, "new", { fs: stranger })
  expect((await stat(path)).mode & 0o077).toBe(0)
})

it("keeps the last good version by copying where there are no hard links", async () => {
  const path = join(room, "state.json")
  const fs: FileSystem = {
    ...nodeFileSystem,
    link: () => Promise.reject(Object.assign(new Error("no links here"), { code: "EPERM" })),
  }
  await safeWrite(path, "one", { fs })
  await safeWrite(path, "two", { fs })
  expect(await content(`${path}.prev`)).toBe("one")
})

it("keeps somebody else's version aside and does not call it the last good one", async () => {
  const path = join(room, "state.json")
  await safeWrite(path, "one")
  const { facts } = await safeWrite(path, "two", { expected: await nodeFileSystem.facts(path) })
  await writeFile(path, "edited by hand")
  const { keptAside } = await safeWrite(path, "three", { expected: facts })
  expect(keptAside).toMatch(/state\.json\.edited-\d{8}T\d{9}Z$/)
  expect(await content(String(keptAside))).toBe("edited by hand")
  expect(await content(`${path}.prev`)).toBe("one")
  expect(await content(path)).toBe("three")
})

it("runs concurrent writes to one place in order, through a link or not", async () => {
  await symlink("state.json", join(room, "link.json"))
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 5000 })), { minLength: 1 }),
      async (all) => {
        const writes = all.map(([linked, bytes]) => safeWrite(join(room, linked ? "link.json" : "state.json"), bytes))
        await Promise.all(writes)
        expect(Buffer.compare(await readFile(join(room, "state.json")), all.at(-1)?.[1] ?? new Uint8Array())).toBe(0)
      },
    ),
    { numRuns: 20 },
  )
})
