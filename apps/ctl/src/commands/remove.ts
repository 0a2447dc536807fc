import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { oneLine } from "../output/escape.ts"
import { findService } from "../services/find-service.ts"

export class Remove extends ControlCommand {
  static override summary = "Stop and forget a service."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }
  static override flags = {
    "cleanup-artifacts": Flags.boolean({ description: "delete its compiled module from .clarity/build as well" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Remove)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const answer = await client.removeService({ id: serviceId, cleanupArtifacts: flags["cleanup-artifacts"] })
    const { artifactRemoved, artifactKept } = answer
    const module = artifactRemoved
      ? "; its module is deleted"
      : artifactKept === undefined
        ? ""
        : `; no module deleted: ${artifactKept}`
    this.show(flags, answer, () => oneLine(`${namespace} (${serviceId}) removed${module}`))
  }
}
