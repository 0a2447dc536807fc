import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClarityError } from "@clarity-runtime/contracts"
import { manifest, startDaemon, wasm, type Daemon } from "../../test/e2e/support/daemon.ts"
import { callTool, textOf } from "../../test/e2e/support/mcp.ts"
import { inRoot } from "../../test/e2e/support/process.ts"
import { readFresh, registryKind } from "./kinds.ts"
import { attach, fileThreadOf, whyNoStrace } from "./strace.ts"
import { nothingFound, type Finding, type Tally } from "./tally.ts"

/** System calls of a change, each with what the kernel may answer. Writes are made to fail by a full disk instead. */
const calls: readonly (readonly [call: string, errors: readonly string[]])[] = [
  ["openat", ["EIO", "ENOSPC", "EACCES", "EMFILE"]],
  ["fsync", ["EIO", "ENOSPC", "EINTR"]],
  ["rename", ["EIO", "ENOSPC", "EROFS"]],
  ["link", ["EIO", "ENOSPC", "EDQUOT"]],
  ["fchmod", ["EIO", "EROFS"]],
  ["close", ["EIO", "ENOSPC"]],
  ["unlink", ["EIO"]],
]

/**
 * Makes the kernel refuse the 1st, 2nd, ... call of every kind that a change makes in a real daemon, by strace on the one
 * thread that does its file work. The change is answered `storage_error` and nothing has changed, or it is durable; the
 * daemon and the disk agree; a call made meanwhile is answered; the next change goes through.
 */
export async function systemFaults(options: {
  /** How many calls of each kind to refuse, one after the other. */
  readonly depth: number
}): Promise<Omit<Tally, "campaign" | "seconds"> | { readonly skipped: string }> {
  const skipped = whyNoStrace()
  if (skipped !== undefined) return { skipped }
  const finding = nothingFound()
  const workspace = mkdtempSync(join(tmpdir(), "clarity-strace-"))
  const daemon = await startDaemon({ workspace, env: { UV_THREADPOOL_SIZE: "1" } })
  let points = 0
  let acknowledged = 0
  let refused = 0
  try {
    await daemon.register(manifest("ints", wasm(inRoot("test/fixtures/clarity/ints.wasm"))))
    await change(daemon, "v0")
    const thread = fileThreadOf(daemon.program.pid)
    if (thread === undefined) return { skipped: "the thread that does the file work has no name of its own here" }
    for (const [call, errors] of calls)
      for (const error of errors)
        for (let when = 1; when <= options.depth; when++) {
          const strace = await attach(thread, call, `error=${error}`, when)
          if (typeof strace === "string") return { skipped: strace }
          const where = `${error} at ${call} ${when}: `
          const answer = await changed(daemon, `v${++points}`, finding, where)
          if (answer === "acknowledged") acknowledged++
          else refused++
          const struck = await strace.detach()
          await change(daemon, `w${points}`).then(
            () => acknowledged++,
            (reason: unknown) => finding.other.push(`${where}the next change is refused: ${String(reason)}`),
          )
          if (!struck) {
            points--
            break // a change makes no more calls of this kind
          }
        }
  } finally {
    const code = await daemon.stop()
    if (code !== 0) finding.other.push(`the daemon ended with ${code}: ${daemon.program.stderr().slice(0, 500)}`)
  }
  rmSync(workspace, { recursive: true, force: true })
  if (refused === 0) finding.other.push("nothing was refused: the faults went elsewhere")
  return { points, unit: "faults", acknowledged, ...finding, note: `${refused} changes refused by storage_error` }
}

/** One change under a fault, and whether everybody agrees on what came of it. */
async function changed(
  daemon: Daemon,
  value: string,
  finding: Finding,
  where: string,
): Promise<"acknowledged" | "refused"> {
  const before = await known(daemon)
  const call = callTool(daemon.url, "ints__fn__plus", { a: 1, b: 2 }).then(textOf, String)
  const answer = await change(daemon, value).then(
    () => "acknowledged" as const,
    (error: unknown) => {
      if (!(error instanceof ClarityError) || error.code !== "storage_error")
        finding.other.push(`${where}refused by ${String(error)}`)
      return "refused" as const
    },
  )
  const said = await call
  if (said !== "3") finding.other.push(`${where}a call meanwhile is answered ${said}`)
  const expected = answer === "acknowledged" ? value : before
  const remembered = await known(daemon)
  if (remembered !== expected) finding.other.push(`${where}${answer}, and the daemon knows ${remembered}`)
  try {
    const found = await readCopy(daemon.workspace)
    if (found !== expected) finding.lost.push(`${where}${answer}, and the disk holds ${found}`)
  } catch (error) {
    finding.unreadable.push(`${where}${(error as Error).message}`)
  }
  return answer
}

async function change(daemon: Daemon, displayName: string): Promise<void> {
  const plain = manifest("struck", wasm("/nowhere/struck.wasm"), { enabled: false })
  await daemon.client.applyManifest({ manifest: { ...plain, metadata: { ...plain.metadata, displayName } } })
}

async function known(daemon: Daemon): Promise<string | undefined> {
  const { items } = await daemon.client.listServices({ limit: 2000 })
  return items.find(({ module }) => module === "struck")?.displayName ?? undefined
}

/** What a new process would find; on a copy, because a reader tidies up, which is the owner's to do. */
async function readCopy(workspace: string): Promise<string | undefined> {
  const copy = mkdtempSync(join(tmpdir(), "clarity-copy-"))
  try {
    spawnSync("cp", ["-a", `${registryKind.files(join(workspace, ".clarity", "runtime"))[0]}`, copy])
    return (await readFresh(registryKind, copy)).get("struck")
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}
