import { spawnSync } from "node:child_process"
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { manifest, startDaemon, wasm } from "../../test/e2e/support/daemon.ts"
import { callTool, textOf } from "../../test/e2e/support/mcp.ts"
import { createOracle } from "../../test/e2e/support/oracle.ts"
import { inRoot } from "../../test/e2e/support/process.ts"
import { same, text } from "./disk-faults.ts"
import { readFresh, type StateKind } from "./kinds.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"

export interface FullDiskOptions {
  readonly kinds: readonly StateKind[]
  /** Fill levels for each kind, 4 KiB apart. */
  readonly levels: number
  /** Fill levels of the disk under a real daemon. */
  readonly daemonLevels: number
}

/**
 * Disks in memory, filled page by page while changes go on. A change is acknowledged and there, or refused by name with
 * memory and disk as they were; calls flow at every level; with room again the next change goes through.
 */
export async function fullDisk(
  options: FullDiskOptions,
): Promise<Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return { skipped: "a small disk needs Linux and root" }
  const finding = nothingFound()
  const room = mkdtempSync(join(tmpdir(), "clarity-full-"))
  const counts = { points: 0, acknowledged: 0, refused: 0 }
  try {
    for (const kind of options.kinds) {
      const disk = mountMemory(join(room, kind.name), options.levels * 4 + 512)
      if (typeof disk === "string") return { skipped: disk }
      try {
        await fillUnder(kind, disk.path, options.levels, finding, counts)
      } finally {
        disk.leave()
      }
    }
    if (options.daemonLevels > 0) {
      const disk = mountMemory(join(room, "daemon"), options.daemonLevels * 16 + 512)
      if (typeof disk === "string") return { skipped: disk }
      try {
        await fillUnderDaemon(disk.path, options.daemonLevels, finding, counts)
      } finally {
        disk.leave()
      }
    }
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
  const { points, acknowledged, refused } = counts
  if (refused === 0) finding.other.push("the disk was never full")
  return { points, unit: "fill levels", acknowledged, ...finding, note: `${refused} changes refused for want of space` }
}

interface Counts {
  points: number
  acknowledged: number
  refused: number
}

async function fillUnder(kind: StateKind, dir: string, levels: number, finding: Finding, counts: Counts) {
  const state = await kind.open(dir)
  const filler = join(dir, "filler")
  const [key = ""] = kind.keys
  for (let level = 0; level <= levels + 140; level++) {
    grow(filler, 4096)
    counts.points++
    const where = `${kind.name}, level ${level}: `
    const before = new Map(state.read())
    // Growing values, so that what must be written does not fit where what was written did.
    const value = `v${level}${"x".repeat((level * 37) % 240)}`
    let expected = before
    try {
      await state.set(key, value)
      counts.acknowledged++
      expected = new Map([...before, [key, value]])
    } catch (error) {
      counts.refused++
      if (!isStorageError(error)) finding.other.push(`${where}refused by ${String(error)}`)
    }
    if (!same(state.read(), expected)) finding.other.push(`${where}memory holds ${text(state.read()).slice(0, 100)}`)
    try {
      const found = await readFresh(kind, dir)
      if (!same(found, expected)) finding.lost.push(`${where}the disk holds ${text(found).slice(0, 100)}`)
    } catch (error) {
      finding.unreadable.push(`${where}${(error as Error).message}`)
    }
  }
  truncateSync(filler)
  await state.set(key, "room-again")
  if ((await readFresh(kind, dir)).get(key) !== "room-again")
    finding.lost.push(`${kind.name}: not there, with room again`)
  await state[Symbol.asyncDispose]()
}

async function fillUnderDaemon(workspace: string, levels: number, finding: Finding, counts: Counts) {
  const oracle = createOracle()
  const first = await startDaemon({ workspace })
  await first.register(manifest("ints", wasm(inRoot("test/fixtures/clarity/ints.wasm"))))
  const call = async (url: string, where: string) => {
    const said = await callTool(url, "ints__fn__plus", { a: 1, b: 2 }).then(textOf, String)
    if (said !== "3") finding.other.push(`${where}a call is answered ${said}`)
  }
  const known = async (url: typeof first) =>
    new Map(
      (await url.client.listServices({ limit: 2000 })).items
        .filter(({ module }) => module === "full")
        .map(({ module, displayName }) => [module, String(displayName)]),
    )
  const change = async (daemon: typeof first, level: number, where: string) => {
    const name = `v${level}${"x".repeat((level * 37) % 200)}`
    const plain = manifest("full", wasm("/nowhere/full.wasm"), { enabled: false })
    oracle.ask("full", name)
    try {
      await daemon.client.applyManifest({ manifest: { ...plain, metadata: { ...plain.metadata, displayName: name } } })
      oracle.acknowledge("full", name)
      counts.acknowledged++
    } catch (error) {
      oracle.refuse("full")
      counts.refused++
      if (!isStorageError(error)) finding.other.push(`${where}refused by ${String(error)}`)
    }
    finding.lost.push(
      ...oracle
        .copy()
        .check(await known(daemon))
        .map((each) => where + each),
    )
  }
  for (let level = 0; level <= levels + 40; level++) {
    grow(join(workspace, "filler"), 16_384)
    counts.points++
    const where = `daemon, level ${level}: `
    await Promise.all([change(first, level, where), call(first.url, where)])
  }
  await first.stop("SIGKILL")
  // A full disk is no reason not to start, nor not to serve.
  const second = await startDaemon({ workspace })
  finding.lost.push(
    ...oracle.check(await known(second)).map((each) => `daemon, after a kill on the full disk: ${each}`),
  )
  await call(second.url, "daemon, started on the full disk: ")
  truncateSync(join(workspace, "filler"))
  await change(second, 7, "daemon, with room again: ")
  if (oracle.last("full")?.startsWith("v7") !== true) finding.other.push("daemon: refused with room again")
  await second.stop()
}

function isStorageError(error: unknown): boolean {
  return error instanceof ClarityError && error.code === "storage_error"
}

/** Takes so many more bytes of the disk, or what is left of it. */
function grow(path: string, bytes: number): void {
  const file = openSync(path, "a")
  try {
    for (let left = bytes; left > 0;) left -= writeSync(file, Buffer.alloc(left, 1))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
  } finally {
    closeSync(file)
  }
}

function mountMemory(path: string, kibibytes: number): { readonly path: string; leave(): void } | string {
  mkdirSync(path, { recursive: true })
  const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${kibibytes}k`, "tmpfs", path], { encoding: "utf8" })
  if (done.status !== 0) return `no small disk can be mounted here: ${done.error?.message ?? done.stderr.trim()}`
  return { path, leave: () => void spawnSync("umount", [path]) }
}
