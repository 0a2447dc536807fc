import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { launchDaemon } from "../../test/e2e/support/daemon.ts"
import { nothingFound, type Tally } from "./tally.ts"

/** Many daemons started at once on one workspace: exactly one serves, every other ends with 3 and a sentence that names it. */
export async function contenders(options: { readonly daemons: number }): Promise<Omit<Tally, "campaign" | "seconds">> {
  const workspace = mkdtempSync(join(tmpdir(), "clarity-contenders-"))
  const finding = nothingFound()
  // Loaded from a cache, they come to the lock closer together.
  const env = { NODE_COMPILE_CACHE: join(workspace, "cache") }
  const programs = Array.from({ length: options.daemons }, () => launchDaemon({ workspace, env }))
  const ends = await Promise.all(
    programs.map(async (program) => {
      const serves = program.says(/clarityd listens on (\S+)/).then(
        ([, url]) => url ?? "",
        () => undefined,
      )
      const url = await serves
      return url === undefined ? { program, code: await program.exited } : { program, url }
    }),
  )
  const serving = ends.flatMap((end) => ("url" in end ? [end] : []))
  if (serving.length !== 1) finding.other.push(`${serving.length} of ${options.daemons} daemons serve`)
  const sentence = `is in use by process ${serving[0]?.program.pid} `
  for (const end of ends) {
    if ("url" in end) continue
    const said = end.program.stderr().trim()
    const lines = said.split("\n")
    if (end.code !== 3 || lines.length !== 1 || !said.includes(sentence))
      finding.other.push(`one ended with ${end.code}: ${said.slice(0, 300)}`)
  }
  for (const { program, url } of serving) {
    const ready = await fetch(`${url}/readyz`)
    if (ready.status !== 200) finding.other.push(`the one that serves answers ${ready.status}`)
    program.child.kill("SIGTERM")
    const code = await program.exited
    if (code !== 0) finding.other.push(`the one that served ended with ${code}`)
  }
  rmSync(workspace, { recursive: true, force: true })
  return { points: options.daemons, unit: "daemons at once", ...finding }
}
