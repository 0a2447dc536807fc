import { resolve } from "node:path"
import { asClarityError } from "@clarity-runtime/contracts"
import { Args, Flags } from "@oclif/core"
import { showDiagnostics } from "../adding-command.ts"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { addService, type Added } from "../services/add-service.ts"
import { findSources, type Source } from "../services/find-sources.ts"
import { moduleFlags } from "../services/service-flags.ts"

type Outcome =
  | Added
  | { readonly ok: false; readonly sourceFile: string; readonly module: string; readonly error: string }

export class AddAll extends ControlCommand {
  static override summary = "Add every .clarity source of a folder."
  static override args = { dir: Args.string({ ignoreStdin: true, default: ".", description: "the folder" }) }
  static override flags = {
    recursive: Flags.boolean({ char: "r", description: "folders below it as well" }),
    "compiler-bin": moduleFlags["compiler-bin"],
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(AddAll)
    const client = connect(flags)
    const rootDir = resolve(args.dir)
    const sources = await findSources(rootDir, flags.recursive)
    // Before anything is compiled: a daemon that is not there would only be found at the first of many files.
    if (sources.length > 0) await client.listServices({ limit: 1 })
    const add = async ({ sourceFile, module }: Source): Promise<Outcome> => {
      try {
        const { added } = await addService(
          client,
          { kind: "source", sourceFile },
          { module, "compiler-bin": flags["compiler-bin"] },
          process.cwd(),
        )
        return added
      } catch (thrown) {
        const error = asClarityError(thrown)
        if (error.code === "config_error" || error.code === "unauthorized" || error.code === "forbidden") throw error
        showDiagnostics(error)
        return { ok: false, sourceFile, module, error: error.message }
      }
    }
    const services: Outcome[] = []
    for (const source of sources) {
      const outcome = await add(source)
      services.push(outcome)
      if (!flags.json) this.log("%s", oneLine(lineOf(outcome)))
    }
    const added = services.filter(({ ok }) => ok).length
    const ok = added === services.length
    this.show(
      flags,
      { ok, rootDir, scanned: sources.length, added, services },
      () => `${added} of ${sources.length} added`,
    )
    if (!ok) this.found(`${services.length - added} of ${services.length} could not be added or do not run`)
  }
}

function lineOf(outcome: Outcome): string {
  if ("error" in outcome) return `failed  ${outcome.sourceFile}: ${outcome.error}`
  const trouble = outcome.ok ? "" : `: ${outcome.lastError ?? outcome.lifecycle}`
  return `${outcome.ok ? "added " : "failed"}  ${outcome.sourceFile} as ${outcome.namespace} (${outcome.serviceId})${trouble}`
}
