import { spawn, type ChildProcessByStdio } from "node:child_process"
import { once } from "node:events"
import { lstat, mkdir, mkdtemp, readdir, readFile, realpath, stat, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { DatabaseSync } from "node:sqlite"
import type { Readable, Writable } from "node:stream"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, expect, it } from "vitest"
import { faultyFileSystem } from "./faults.ts"
import { nodeFileSystem } from "./file-system.ts"
import { lockWorkspace } from "./workspace-lock.ts"

type Holder = ChildProcessByStdio<Writable, Readable, Readable>
const script = fileURLToPath(new URL("../test-fixtures/lock-holder.ts", import.meta.url))
const children: Holder[] = []
let workspace: string

beforeEach(async () => {
  workspace = join(await realpath(await mkdtemp(join(tmpdir(), "lock-"))), ".clarity")
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL")
})

/** Another process that tries to take the lock: its first line tells what came of it. */
async function contender(): Promise<{ child: Holder; said: string }> {
  const child = spawn(process.execPath, ["--conditions=@clarity-runtime/source", script, workspace], {
    stdio: ["pipe", "pipe", "pipe"],
  })
  children.push(child)
  const [said] = (await once(createInterface({ input: child.stdout }), "line")) as [string]
  return { child, said }
}

it("says so where no directory can be made, though its parent is there", async () => {
  const none = Object.assign(new Error("none"), { code: "ENOENT" })
  const fs = {
    ...nodeFileSystem,
    makeDirectory: (path: string, mode: number) =>
      path === workspace ? Promise.reject(none) : nodeFileSystem.makeDirectory(path, mode),
  }
  await expect(lockWorkspace(join(workspace, "runtime"), { fs })).rejects.toMatchObject({ code: "storage_error" })
})

it("makes the directory 0700 and the lock file 0600, and says who holds it", async () => {
  const lock = await lockWorkspace(workspace, { clock: { now: () => 0 } })
  expect((await stat(workspace)).mode & 0o777).toBe(0o700)
  expect((await stat(join(workspace, "clarity.lock"))).mode & 0o777).toBe(0o600)
  expect(JSON.parse(await readFile(join(workspace, "clarity.lock.owner"), "utf8"))).toEqual({
    pid: process.pid,
    since: "1970-01-01T00:00:00.000Z",
  })
  await lock[Symbol.asyncDispose]()
  await lock[Symbol.asyncDispose]()
  expect(await readdir(workspace)).toEqual(["clarity.lock"])
})

it("refuses a second owner in the same process, and lets one in after the first is gone", async () => {
  const first = await lockWorkspace(workspace)
  for (let attempt = 0; attempt < 3; attempt++)
    await expect(lockWorkspace(workspace)).rejects.toMatchObject({ code: "conflict", data: { pid: process.pid } })
  await first[Symbol.asyncDispose]()
  await (await lockWorkspace(workspace))[Symbol.asyncDispose]()
})

it("refuses another process, naming this one, however often this one tries again itself", async () => {
  const mine = await lockWorkspace(workspace)
  await expect(lockWorkspace(workspace)).rejects.toMatchObject({ code: "conflict" })
  const { said } = await contender()
  expect(said).toContain(`${workspace} is in use by process ${process.pid} (since 20`)
  await mine[Symbol.asyncDispose]()
}, 60_000)

it("lets exactly one of several processes in, and another one right after that one was killed", async () => {
  const all = await Promise.all([contender(), contender(), contender()])
  const holders = all.filter(({ said }) => said === "held")
  expect(holders).toHaveLength(1)
  const holder = holders[0]?.child
  for (const { said } of all) if (said !== "held") expect(said).toContain(`in use by process ${holder?.pid}`)
  await expect(lockWorkspace(workspace)).rejects.toMatchObject({ code: "conflict", data: { pid: holder?.pid } })

  holder?.kill("SIGKILL")
  await once(holder as Holder, "close")
  await (await lockWorkspace(workspace))[Symbol.asyncDispose]()
}, 60_000)

it("is had in spite of somebody who only came in its way, as two that start at the same moment do", async () => {
  await (await lockWorkspace(workspace))[Symbol.asyncDispose]()
  const passing = new DatabaseSync(join(workspace, "clarity.lock"))
  passing.exec("BEGIN; SELECT * FROM sqlite_schema")
  let looks = 0
  const fs = {
    ...nodeFileSystem,
    open: (path: string, flags: number, mode?: number) => {
      // The first look at the note comes after the first refusal.
      if (path.endsWith(".owner") && ++looks === 2) passing.close()
      return nodeFileSystem.open(path, flags, mode)
    },
  }
  const lock = await lockWorkspace(workspace, { fs })
  expect(looks).toBeGreaterThanOrEqual(2)
  await expect(lockWorkspace(workspace)).rejects.toMatchObject({ code: "conflict", data: { pid: process.pid } })
  await lock[Symbol.asyncDispose]()
})

it("prints no warning", async () => {
  const { child, said } = await contender()
  expect(said).toBe("held")
  let complaints = ""
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()))
  child.stdin.end()
  expect(await once(child, "close")).toEqual([0, null])
  expect(complaints).toBe("")
}, 60_000)

it("is refused without the holder's name when the note is unreadable", async () => {
  const lock = await lockWorkspace(workspace)
  await writeFile(join(workspace, "clarity.lock.owner"), "{")
  await expect(lockWorkspace(workspace)).rejects.toThrow(`${workspace} is in use by another process`)
  await lock[Symbol.asyncDispose]()
})

it("is had on a disk too full for the note", async () => {
  await (await lockWorkspace(workspace))[Symbol.asyncDispose]()
  const full = faultyFileSystem(0, "ENOSPC", { lasting: true })
  const fs = { ...full, makeDirectory: failWith("EEXIST"), facts: nodeFileSystem.facts, open: failWith("EEXIST") }
  const lock = await lockWorkspace(workspace, { fs })
  await expect(lockWorkspace(workspace)).rejects.toMatchObject({ code: "conflict" })
  await lock[Symbol.asyncDispose]()
})

it("says what is wrong with a place that cannot be locked", async () => {
  await mkdir(join(workspace, "clarity.lock"), { recursive: true })
  await expect(lockWorkspace(workspace)).rejects.toThrow(`cannot lock ${workspace}/clarity.lock: it is not a regular`)
  const file = join(workspace, "file")
  await writeFile(file, "")
  await expect(lockWorkspace(file)).rejects.toMatchObject({ code: "storage_error" })
  await mkdir(join(workspace, "astray"))
  await symlink("nowhere", join(workspace, "astray", "clarity.lock"))
  await expect(lockWorkspace(join(workspace, "astray"))).rejects.toMatchObject({ code: "storage_error" })
  const garbage = join(workspace, "other")
  await mkdir(garbage)
  await writeFile(join(garbage, "clarity.lock"), "this is no lock file, it is somebody's poem".repeat(100))
  await expect(lockWorkspace(garbage)).rejects.toMatchObject({ code: "storage_error" })
  expect((await lstat(join(garbage, "clarity.lock"))).size).toBe(4300)
})

function failWith(code: string): () => Promise<never> {
  return () => Promise.reject(Object.assign(new Error(code), { code }))
}
