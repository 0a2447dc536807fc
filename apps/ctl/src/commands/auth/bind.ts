import { Args, Flags } from "@oclif/core"
import { connect, ControlCommand } from "../../control-command.ts"
import { oneLine } from "../../output/escape.ts"
import { findService } from "../../services/find-service.ts"

export class Bind extends ControlCommand {
  static override summary = "Let a service use a secret that another service, or another address of it, has."
  static override args = {
    ref: Args.string({ ignoreStdin: true, required: true, description: "reference to the secret" }),
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }
  static override flags = {
    origin: Flags.string({ description: "where it may be sent instead of the service's endpoint: https://host:port" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Bind)
    const client = connect(flags)
    const { serviceId, namespace } = await findService(client, args.service)
    const answer = await client.bindAuthRef({
      authRef: args.ref,
      id: serviceId,
      ...(flags.origin === undefined ? {} : { origin: flags.origin }),
    })
    const { authRef, origin } = answer.binding
    this.show(flags, answer, () =>
      oneLine(`${namespace} may use ${authRef} ${origin === undefined ? "in its process" : `at ${origin}`}`),
    )
  }
}
