import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { findService } from "../../services/find-service.ts"

export class Unbind extends ControlCommand {
  static override summary = "Take a secret away from a service."
  static override args = {
    ref: Args.string({ ignoreStdin: true, required: true, description: "reference to the secret" }),
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Unbind)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const answer = await client.unbindAuthRef({ authRef: args.ref, id: serviceId })
    this.show(flags, answer, () => (answer.unbound ? oneLine(`${namespace} has ${answer.authRef} no more`) : ""))
    if (!answer.unbound) this.found(oneLine(`${namespace} did not have ${args.ref}`))
  }
}
