import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { generator } from "../../test/e2e/support/oracle.ts"
import { acknowledgedIn, copyOf, emptyJournal, startWriter, type Journal } from "./journal.ts"
import { documentKind, folderOf } from "./kinds.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"
import { checkFresh } from "./writer-kills.ts"

export interface PowerCutOptions {
  readonly cuts: number
  readonly seed: number
  /** Cuts taken of one start of the writer; after the last one, life goes on from what it left. */
  readonly perStart?: number
  /** Cuts of the control. */
  readonly control?: number
}

/** Why no power can be cut here; undefined: it can. */
export function whyNoPowerCuts(): string | undefined {
  if (process.platform !== "linux") return "loop-mounted images need Linux"
  if (process.getuid?.() !== 0) return "mounting an image needs root"
  const room = mkdtempSync(join(tmpdir(), "clarity-loop-"))
  try {
    makeImage(join(room, "image"))
    const mounted = mount(join(room, "image"), join(room, "disk"))
    mounted.leave()
    return undefined
  } catch (error) {
    return `no image can be mounted here: ${(error as Error).message}`
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
}

/**
 * Power cuts: while a writer changes every kind of state on an ext4 file system in an image, the image is copied as it is,
 * nothing synced. The copy is the disk after the cut: it is mounted (which replays its journal), read by fresh readers and
 * held against what was acknowledged before the copy began. The writer stands still during the copy, so that the copy is
 * of one moment. A control that writes without fsync shows whether losses would be seen.
 */
export async function powerCuts(
  options: PowerCutOptions,
): Promise<Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }> {
  const skipped = whyNoPowerCuts()
  if (skipped !== undefined) return { skipped }
  const { cuts, seed, perStart = 4, control = 20 } = options
  const room = mkdtempSync(join(tmpdir(), "clarity-power-"))
  const finding = nothingFound()
  try {
    const acknowledged = await cutPower(room, { cuts, seed, perStart, naive: false }, (workspace, journal, where) =>
      checkFresh(workspace, journal, finding, where),
    )
    let lossy = 0
    const note = { cuts: control, seed: seed + 1, perStart, naive: true }
    await cutPower(
      room,
      note,
      async (workspace, journal) => void (lossy += (await isLossy(workspace, journal)) ? 1 : 0),
    )
    if (control > 0 && lossy === 0) finding.other.push("the control lost nothing: power cuts prove nothing here")
    return {
      points: cuts,
      unit: "power cuts",
      acknowledged,
      ...finding,
      note: `control, writing by rename without fsync: ${lossy} of ${control} power cuts lost what was acknowledged (not counted)`,
    }
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
}

/** Runs until so many cuts were taken and looked at. Returns how many acknowledgements there were. */
async function cutPower(
  room: string,
  { cuts, seed, perStart, naive }: { cuts: number; seed: number; perStart: number; naive: boolean },
  look: (workspace: string, journal: Journal, where: string) => Promise<void>,
): Promise<number> {
  const random = generator(seed)
  const [image, copy] = [join(room, "image"), join(room, "copy")]
  makeImage(image)
  let journal = emptyJournal()
  let acknowledged = 0
  for (let cut = 0, start = 0; cut < cuts; start++) {
    const disk = mount(image, join(room, "disk"))
    const cacheDir = join(room, "cache")
    const writer = startWriter({ workspace: disk.path, journal, day: start, seed: seed + start, naive, cacheDir })
    let after = journal
    let complaint: string | undefined
    try {
      await writer.writing
      for (let nth = 0; nth < perStart && cut < cuts; nth++, cut++) {
        await setTimeout(random() * 60)
        await standStill(writer.pid)
        // Everything it said before it stood still has arrived by then: it is the oracle of this cut.
        await setTimeout(5)
        after = copyOf(journal)
        copyFileSync(image, copy)
        process.kill(writer.pid, "SIGCONT")
        const found = mount(copy, join(room, "after"))
        try {
          await look(found.path, after, `power cut ${cut}: `)
        } finally {
          found.leave()
        }
      }
    } finally {
      writer.child.kill("SIGKILL")
      const { code, stderr } = await writer.gone
      disk.leave()
      complaint = code === "SIGKILL" ? undefined : `the writer ended with ${code}: ${stderr}`
    }
    if (complaint !== undefined) throw new Error(complaint)
    acknowledged += acknowledgedIn(journal) - acknowledgedIn(after)
    // Mounted and looked at, the copy is what the next start finds.
    copyFileSync(copy, image)
    journal = after
  }
  return acknowledged + acknowledgedIn(journal)
}

async function isLossy(workspace: string, journal: Journal): Promise<boolean> {
  const finding: Finding = nothingFound()
  try {
    const wrong = journal.get(documentKind.name)?.check(await readNaive(workspace)) ?? []
    finding.lost.push(...wrong)
  } catch (error) {
    finding.unreadable.push((error as Error).message)
  }
  return finding.lost.length + finding.unreadable.length > 0
}

async function readNaive(workspace: string): Promise<ReadonlyMap<string, string>> {
  const { entries } = JSON.parse(readFileSync(join(folderOf(documentKind, workspace), "crash.json"), "utf8")) as {
    entries: Record<string, string>
  }
  return new Map(Object.entries(entries))
}

/** Stops a process and waits until every thread of it stands. */
async function standStill(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP")
  const threads = () =>
    readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/stat`, "utf8"))
  while (threads().some((stat) => !/\) [TtZ] /.test(stat))) await setTimeout(1)
}

function makeImage(path: string): void {
  rmSync(path, { force: true })
  run("truncate", ["-s", "24M", path])
  run("mkfs.ext4", ["-q", "-F", path])
}

function mount(image: string, path: string): { readonly path: string; leave(): void } {
  mkdirSync(path, { recursive: true })
  run("mount", ["-o", "loop", image, path])
  return { path, leave: () => run("umount", [path]) }
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" })
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr.trim()}`)
}
