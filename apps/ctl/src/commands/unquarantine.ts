import { Args } from "@oclif/core"
import { connect, ControlCommand } from "../control-command.ts"
import { stateLine } from "../output/service-lines.ts"
import { findService } from "../services/find-service.ts"

export class Unquarantine extends ControlCommand {
  static override summary = "Let a service that crashed too often be started again."
  static override args = {
    service: Args.string({ ignoreStdin: true, required: true, description: "id, name, or the beginning of one" }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Unquarantine)
    const client = connect(flags)
    const { serviceId } = await findService(client, args.service)
    const answer = await client.unquarantineService({ id: serviceId })
    this.show(flags, answer, () => stateLine(answer.service))
  }
}
