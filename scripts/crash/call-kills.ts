import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { acknowledgedIn, emptyJournal, startWriter } from "./journal.ts"
import { attach, fileThreadOf, whyNoStrace } from "./strace.ts"
import { nothingFound, violationsOf, type Tally } from "./tally.ts"
import { checkFresh } from "./writer-kills.ts"

const calls = ["openat", "write", "fsync", "rename", "link", "unlink", "fchmod", "close"]

/** SIGKILL not at a random moment but at the 1st, 2nd, ... of every system call that writing makes. */
export async function callKills(options: {
  readonly depth: number
  readonly seed: number
}): Promise<Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }> {
  const skipped = whyNoStrace()
  if (skipped !== undefined) return { skipped }
  const workspace = mkdtempSync(join(tmpdir(), "clarity-calls-"))
  const finding = nothingFound()
  const journal = emptyJournal()
  let points = 0
  for (const call of calls)
    for (let when = 1; when <= options.depth; when++) {
      const writer = startWriter({
        workspace,
        journal,
        day: points,
        seed: options.seed + points,
        cacheDir: join(workspace, "cache"),
        env: { UV_THREADPOOL_SIZE: "1" },
      })
      try {
        await writer.writing
        const thread = fileThreadOf(writer.pid)
        if (thread === undefined) return { skipped: "the thread that does the file work has no name of its own here" }
        const strace = await attach(thread, call, "signal=SIGKILL", when)
        if (typeof strace === "string") return { skipped: strace }
        const killed = await Promise.race([writer.gone, setTimeout(10_000, undefined, { ref: false })])
        await strace.detach()
        if (killed?.code !== "SIGKILL") finding.other.push(`${call} ${when}: the writer was not killed`)
        else points++
      } finally {
        writer.child.kill("SIGKILL")
        await writer.gone
      }
      await checkFresh(workspace, journal, finding, `killed at ${call} ${when}: `)
    }
  if (violationsOf(finding).length === 0) rmSync(workspace, { recursive: true, force: true })
  return { points, unit: "kills", acknowledged: acknowledgedIn(journal), ...finding }
}
