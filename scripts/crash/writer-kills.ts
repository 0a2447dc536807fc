import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { generator } from "../../test/e2e/support/oracle.ts"
import { acknowledgedIn, emptyJournal, startWriter, type Journal } from "./journal.ts"
import { folderOf, writtenKinds } from "./kinds.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"

export interface WriterKillOptions {
  readonly rounds: number
  readonly seed: number
  /** Writers at a time, each with a workspace of its own. */
  readonly lanes: number
  /** Also asks this reader every so many rounds; answers with violations. */
  readonly second?: { readonly every: number; look(workspace: string, journal: Journal): Promise<readonly string[]> }
}

/**
 * SIGKILL at a random moment of a process that writes every kind of state at once, again and again in one workspace;
 * after each, a fresh reader is held against what was acknowledged.
 */
export async function writerKills(options: WriterKillOptions): Promise<Omit<Tally, "campaign" | "seconds">> {
  const room = mkdtempSync(join(tmpdir(), "clarity-kills-"))
  const finding = nothingFound()
  let left = options.rounds
  let acknowledged = 0
  const lane = async (_: unknown, number: number) => {
    const workspace = join(room, `lane-${number}`)
    mkdirSync(workspace)
    const random = generator(options.seed + number)
    const journal = emptyJournal()
    for (let round = 0; left-- > 0; round++) {
      const seed = options.seed + number * 1_000_000 + round
      const writer = startWriter({ workspace, journal, day: round, seed, cacheDir: join(room, "cache") })
      // Most kills come while it writes, some while it starts.
      if (random() < 0.85) await writer.writing.then(() => setTimeout(random() * 30))
      else await Promise.race([setTimeout(random() * 500), writer.gone])
      writer.child.kill("SIGKILL")
      const { code, stderr } = await writer.gone
      const where = `lane ${number}, round ${round}: `
      if (code !== "SIGKILL") finding.other.push(`${where}the writer ended with ${code}: ${stderr.slice(0, 500)}`)
      const { second } = options
      if (second !== undefined && round % second.every === second.every - 1)
        finding.lost.push(...(await second.look(workspace, journal)).map((each) => where + each))
      await checkFresh(workspace, journal, finding, where)
    }
    acknowledged += acknowledgedIn(journal)
  }
  await Promise.all(Array.from({ length: options.lanes }, lane))
  if (finding.lost.length + finding.unreadable.length + finding.silent.length + finding.other.length === 0)
    rmSync(room, { recursive: true, force: true })
  return { points: options.rounds, unit: "kills", acknowledged, ...finding }
}

/** Opens every kind as a new process would and holds it against the journal. No file may be damaged, so nothing may be noted. */
export async function checkFresh(workspace: string, journal: Journal, finding: Finding, where: string): Promise<void> {
  for (const kind of writtenKinds) {
    try {
      const state = await kind.open(folderOf(kind, workspace))
      const wrong = journal.get(kind.name)?.check(state.read()) ?? []
      finding.lost.push(...wrong.map((each) => `${where}${kind.name}: ${each}`))
      finding.unreadable.push(...state.notices.map((notice) => `${where}${kind.name}: ${notice}`))
      await state[Symbol.asyncDispose]()
    } catch (error) {
      finding.unreadable.push(`${where}${kind.name}: ${(error as Error).message}`)
    }
  }
}
