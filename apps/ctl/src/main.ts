import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { flush, run } from "@oclif/core"
import { leadingFlagsLast } from "./leading-flags.ts"
import { exitCodeOf, messageOf } from "./output/failure.ts"

export interface MainOptions {
  /** Folder of the command files below the package; given when running from source. */
  readonly commands?: string
}

/** Runs one command line. Failures are one line on stderr and an exit code of the table of errors. */
export async function main(argv: readonly string[], { commands }: MainOptions = {}): Promise<void> {
  // Whoever reads our output may stop reading: that is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 74))
  const root = fileURLToPath(new URL("..", import.meta.url))
  try {
    await run(leadingFlagsLast(argv), commands === undefined ? { root } : await fromSource(root, commands))
    await flush()
  } catch (error) {
    const message = messageOf(error)
    if (message !== undefined) process.stderr.write(`clarityctl: ${message}\n`)
    process.exitCode = exitCodeOf(error)
  }
}

async function fromSource(root: string, commands: string) {
  const pjson = JSON.parse(await readFile(`${root}/package.json`, "utf8"))
  return { root, ignoreManifest: true, pjson: { ...pjson, oclif: { ...pjson.oclif, commands } } }
}
