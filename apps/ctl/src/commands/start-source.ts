import { Flags } from "@oclif/core"
import { AddingCommand } from "../adding-command.ts"
import { recognise } from "../services/recognise.ts"
import { agentFlags, moduleFlags, serviceFlags } from "../services/service-flags.ts"

export class StartSource extends AddingCommand {
  static override summary = "Compile a source, register and start it."
  static override hidden = true
  static override flags = {
    ...serviceFlags,
    ...moduleFlags,
    ...agentFlags,
    source: Flags.string({ required: true, description: "the .clarity source" }),
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(StartSource)
    process.stderr.write("clarityctl: start-source is deprecated; use clarityctl add FILE\n")
    await this.add(recognise(flags.source, undefined, process.cwd()), { ...flags, agent: flags })
  }
}
