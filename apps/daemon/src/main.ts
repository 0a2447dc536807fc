import { parseArgs } from "node:util"
import { asClarityError, ClarityError } from "@clarity-runtime/contracts"
import { readConfiguration } from "./configuration.ts"
import { help } from "./help.ts"
import { run } from "./run.ts"
import { version } from "./version.ts"

/** The process around the daemon: one readable paragraph and an exit code for what an operator can mend. */
async function main(argv: readonly string[]): Promise<void> {
  const { values } = parse(argv)
  if (values.help) return void process.stdout.write(help)
  if (values.version) return void process.stdout.write(`clarityd ${version}\n`)
  const read = () => readConfiguration(values, process.env, process.cwd())
  await run(read(), read)
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: false,
      options: {
        port: { type: "string", short: "p" },
        host: { type: "string" },
        "auth-token": { type: "string" },
        workspace: { type: "string", short: "w" },
        config: { type: "string" },
        policy: { type: "string" },
        examples: { type: "string" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean", short: "v" },
      },
    })
  } catch (error) {
    throw new ClarityError("config_error", `${(error as Error).message.split(". ")[0]}. See clarityd --help.`, {
      cause: error,
    })
  }
}

main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = asClarityError(thrown)
  process.stderr.write(`clarityd: ${error.code === "internal" ? describe(thrown) : error.message}\n`)
  process.exit(error.data["reason"] === "workspace_locked" ? 3 : error.entry.exit)
})

/** A fault of ours: its stack is for the log of whoever runs the daemon, never for a caller. */
function describe(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)
}
