import { Flags } from "@oclif/core"
import { AddingCommand } from "../adding-command.ts"
import { remoteFlags, serviceFlags } from "../services/service-flags.ts"
import { recognise } from "../services/recognise.ts"

export class AddRemote extends AddingCommand {
  static override summary = "Add a remote server; the same as add URL."
  static override flags = {
    endpoint: Flags.string({ required: true, description: "http or https URL" }),
    ...serviceFlags,
    ...remoteFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.parse(AddRemote)
    await this.add(recognise(flags.endpoint, undefined, process.cwd()), { ...flags, "compiler-bin": "" })
  }
}
